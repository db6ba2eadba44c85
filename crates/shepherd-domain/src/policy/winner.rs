//! Which policy decides about a request, and what it says.

use std::cmp::Reverse;

use super::matchers::{MatcherName, PolicyFacts};
use super::matrix::{Decision, default_decision};
use super::{Policy, PolicyEnvironment, PolicyOperation};
use crate::environment::Environment;
use crate::ids::{ExternalSystemId, PolicyId};
use crate::ticket::RequestType;

/// What happens to a request, and by whose word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whether it waits.
    pub decision: Decision,
    /// The policy that says so; none for the matrix.
    pub policy: Option<PolicyId>,
    /// User ids and role keys of those who may decide; empty for every holder of `approval:approve`.
    pub approvers: Vec<String>,
    /// The external system that is asked as well.
    pub external_system: Option<ExternalSystemId>,
}

impl Rule {
    /// The same request when nothing can carry it out by itself: it waits for whoever the rule names.
    #[must_use]
    pub fn waiting(self) -> Self {
        Self {
            decision: Decision::RequiresApproval,
            ..self
        }
    }
}

/// A policy that is about this kind of request here, and whether it is for this request.
pub(super) struct Judged<'a> {
    pub(super) policy: &'a Policy,
    pub(super) failed: Option<MatcherName>,
}

impl<'a> Judged<'a> {
    /// `None` when the policy is no candidate at all.
    pub(super) fn of(policy: &'a Policy, facts: &PolicyFacts) -> Option<Self> {
        let is_candidate =
            policy.enabled && policy.operation.covers(facts.operation) && policy.environment.covers(facts.environment);
        is_candidate.then(|| Self {
            policy,
            failed: policy.matchers.failed(facts, policy.requires_approval),
        })
    }

    /// Number of matchers, one more for an exact operation, and one more for an exact environment.
    pub(super) fn specificity(&self) -> u32 {
        let exact_operation = self.policy.operation != PolicyOperation::Any;
        let exact_environment = self.policy.environment != PolicyEnvironment::All;
        self.policy.matchers.count() + u32::from(exact_operation) + u32::from(exact_environment)
    }

    /// The greater wins; no two policies are equal.
    pub(super) fn rank(&self) -> (bool, i32, u32, bool, Reverse<PolicyId>) {
        (
            self.failed.is_none(),
            self.policy.priority,
            self.specificity(),
            self.policy.requires_approval,
            Reverse(self.policy.id),
        )
    }
}

/// The rule for a request.
///
/// What no policy can do is not done, whatever was saved when: BATCH_DELETE and what is about every kind of request
/// wait, and so does prod without `approvals.allow_prod_auto_approval`.
pub fn decide(facts: &PolicyFacts, policies: &[Policy], allow_prod_auto_approval: bool) -> Rule {
    let judged = policies.iter().filter_map(|policy| Judged::of(policy, facts));
    let matching = judged.filter(|judged| judged.failed.is_none());
    match matching.max_by_key(Judged::rank) {
        Some(winner) => rule_of(winner.policy, facts, allow_prod_auto_approval),
        None => Rule {
            decision: default_decision(facts.operation, facts.environment),
            policy: None,
            approvers: Vec::new(),
            external_system: None,
        },
    }
}

fn rule_of(policy: &Policy, facts: &PolicyFacts, allow_prod_auto_approval: bool) -> Rule {
    let may_approve = policy.operation != PolicyOperation::Any
        && facts.operation != RequestType::BatchDelete
        && (facts.environment != Environment::Prod || allow_prod_auto_approval);
    let decision = if may_approve && !policy.requires_approval {
        Decision::AutoApproved
    } else {
        Decision::RequiresApproval
    };
    Rule {
        decision,
        policy: Some(policy.id),
        approvers: policy.approvers.clone(),
        external_system: policy.external_system_id,
    }
}
