//! How a rule came about.

use std::cmp::Reverse;

use super::Policy;
use super::matchers::{MatcherName, PolicyFacts};
use super::matrix::{Decision, default_decision};
use super::winner::{Judged, Rule, decide};
use crate::ids::PolicyId;

/// A policy that is about this kind of request here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The policy.
    pub policy_id: PolicyId,
    /// Whether it is for this request.
    pub matched: bool,
    /// Its priority.
    pub priority: i32,
    /// Number of matchers, one more for an exact operation, and one more for an exact environment.
    pub specificity: u32,
    /// The first matcher that does not match.
    pub failed_matcher: Option<MatcherName>,
}

/// A rule with everything that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The rule.
    pub rule: Rule,
    /// What the matrix says.
    pub default_rule: Decision,
    /// The candidates: the winner first, then the others that match, then those that do not.
    pub candidates: Vec<Candidate>,
}

/// Explains the rule that [`decide`] finds.
pub fn explain(facts: &PolicyFacts, policies: &[Policy], allow_prod_auto_approval: bool) -> Explanation {
    let mut judged: Vec<Judged<'_>> = policies.iter().filter_map(|policy| Judged::of(policy, facts)).collect();
    judged.sort_by_key(|judged| Reverse(judged.rank()));
    let candidates = judged.iter().map(|judged| Candidate {
        policy_id: judged.policy.id,
        matched: judged.failed.is_none(),
        priority: judged.policy.priority,
        specificity: judged.specificity(),
        failed_matcher: judged.failed,
    });
    Explanation {
        rule: decide(facts, policies, allow_prod_auto_approval),
        default_rule: default_decision(facts.operation, facts.environment),
        candidates: candidates.collect(),
    }
}
