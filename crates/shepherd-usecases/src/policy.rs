//! Approval policies: which requests wait, and for whom.
//!
//! A request is judged once, at its submission, by the policies as they are at that moment; what they say is kept on its
//! ticket, so a policy that changes is for later submissions.

pub mod create;
pub mod delete;
pub mod explain;
pub(crate) mod facts;
mod fields;
pub mod update;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde_json::Value;
use shepherd_domain::Environment;
use shepherd_domain::access::Permission;
use shepherd_domain::ids::{PolicyId, SystemId};
use shepherd_domain::policy::{Decision, Policy, PolicyEnvironment, PolicyFacts, PolicyOperation, Rule, decide};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::ticket::RequestType;
use shepherd_ports::context::Caller;
use shepherd_ports::policies::{PolicyRecord, Requesting};
use shepherd_ports::tickets::TicketRecord;

use crate::{Platform, UseCaseError};

/// Kind of the object in audit rows.
const RESOURCE: &str = "approval_policy";

/// One policy.
///
/// # Errors
/// POLICY_NOT_FOUND.
pub async fn find(platform: &Platform, id: PolicyId) -> Result<PolicyRecord, UseCaseError> {
    Ok(platform.read.get_policy(id).await?.ok_or_else(|| missing(id))?)
}

/// The rule for a request. The roles of the requester are looked up.
///
/// # Errors
/// When the store fails.
pub async fn rule(platform: &Platform, facts: &PolicyFacts) -> Result<Rule, UseCaseError> {
    let (facts, policies) = inputs(platform, facts).await?;
    Ok(decide(&facts, &policies, platform.settings().allow_prod_auto_approval))
}

/// A rule, and whether a policy about exactly this kind of request says so.
struct Judgement {
    rule: Rule,
    exact: bool,
}

/// The rules for the items of a batch of one environment by one person, in their order. The facts are about parts of the
/// batch; what a policy about the kind of request that each item is leaves to approvers is not got around in a batch.
///
/// # Errors
/// When the store fails.
pub(crate) async fn item_rules(
    platform: &Platform,
    items: &[PolicyFacts],
    alone: RequestType,
) -> Result<Vec<Rule>, UseCaseError> {
    let together = judge(platform, items).await?;
    let items: Vec<PolicyFacts> = items
        .iter()
        .map(|facts| PolicyFacts {
            operation: alone,
            ..facts.clone()
        })
        .collect();
    let alone = judge(platform, &items).await?;
    let both = together.into_iter().zip(alone);
    let rules = both.map(|(together, alone)| stricter(together.rule, alone));
    Ok(rules.collect())
}

/// The rule for an item as a part of its batch, unless a policy about such a request alone makes it wait where the batch
/// would not, or names approvers where the batch has none.
fn stricter(together: Rule, alone: Judgement) -> Rule {
    let Judgement { rule: alone, exact } = alone;
    if !exact || alone.decision == Decision::AutoApproved {
        return together;
    }
    let decides = together.decision == Decision::AutoApproved
        || together.approvers.is_empty() && (together.policy.is_none() || !alone.approvers.is_empty());
    if decides { alone } else { together }
}

/// The rules for several requests of one kind and environment by one person, in their order. What depends on the System
/// is looked up once for each.
async fn judge(platform: &Platform, requests: &[PolicyFacts]) -> Result<Vec<Judgement>, UseCaseError> {
    let mut known: HashMap<Option<SystemId>, (Vec<String>, Vec<Policy>)> = HashMap::new();
    let mut rules = Vec::with_capacity(requests.len());
    for request in requests {
        let (roles, policies) = match known.entry(request.system) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(missing) => {
                let (facts, policies) = inputs(platform, request).await?;
                missing.insert((facts.roles, policies))
            }
        };
        let facts = PolicyFacts {
            roles: roles.clone(),
            ..request.clone()
        };
        let rule = decide(&facts, policies, platform.settings().allow_prod_auto_approval);
        let winner = policies.iter().find(|policy| Some(policy.id) == rule.policy);
        let exact = winner.is_some_and(|policy| policy.operation == PolicyOperation::Of(facts.operation));
        rules.push(Judgement { rule, exact });
    }
    Ok(rules)
}

/// What a request is decided by, as it is at one moment: the request with the roles of its requester, and the policies.
async fn inputs(platform: &Platform, facts: &PolicyFacts) -> Result<(PolicyFacts, Vec<Policy>), UseCaseError> {
    let requesting = Requesting {
        operation: facts.operation,
        environment: facts.environment,
        requester: facts.requester,
        system: facts.system,
    };
    let found = platform.read.rule_inputs(requesting, platform.now()).await?;
    let facts = PolicyFacts {
        roles: found.roles,
        ..facts.clone()
    };
    Ok((facts, found.policies))
}

/// Whether the policy of a ticket lets this person decide it: by id, by a role held globally in its environment, or
/// because it names nobody. Platform administrators approve nothing that is left to others: who is not named asks for
/// another policy, or to be named by the next one. They may reject it, so that no ticket waits for nobody
/// (`approval::rejectable`).
///
/// # Errors
/// When the store fails.
pub async fn is_eligible(platform: &Platform, caller: &Caller, ticket: &TicketRecord) -> Result<bool, UseCaseError> {
    is_named(platform, caller, ticket.environment, &ticket.eligible_approvers).await
}

async fn is_named(
    platform: &Platform,
    caller: &Caller,
    environment: Environment,
    named: &[String],
) -> Result<bool, UseCaseError> {
    let user = caller.subject.user();
    if named.is_empty() || named.contains(&user.to_string()) {
        return Ok(true);
    }
    let held = platform.read.role_keys(user, environment, None, platform.now()).await?;
    Ok(held.iter().any(|key| named.contains(key)))
}

/// # Errors
/// APPROVER_NOT_ELIGIBLE{policy_id} unless [`is_eligible`].
pub(crate) async fn require_eligible(
    platform: &Platform,
    caller: &Caller,
    ticket: &TicketRecord,
) -> Result<(), UseCaseError> {
    if is_eligible(platform, caller, ticket).await? {
        return Ok(());
    }
    Err(not_eligible(ticket.policy_id).into())
}

/// An approver who puts another spec in the place of what was asked for answers to the policies for that one as well, as
/// they are now: whoever they name for it has to be this approver. What the policy of the ticket says about the ticket
/// stays as it was at submission. An external system that they name is not asked: an approver decides.
///
/// # Errors
/// APPROVER_NOT_ELIGIBLE{policy_id}.
pub(crate) async fn require_eligible_for(
    platform: &Platform,
    caller: &Caller,
    ticket: &TicketRecord,
    spec: &Value,
) -> Result<(), UseCaseError> {
    let Some(facts) = facts::of_replacement(platform, ticket, spec).await? else {
        return Ok(());
    };
    let rule = match ticket.parent_ticket_id {
        Some(_) => item_rules(platform, &[facts], ticket.request_type).await?.pop(),
        None => Some(rule(platform, &facts).await?),
    };
    let rule = rule.ok_or(UseCaseError::Broken("a spec was judged by no rule"))?;
    let same = rule.policy == ticket.policy_id;
    if same || is_named(platform, caller, ticket.environment, &rule.approvers).await? {
        return Ok(());
    }
    Err(not_eligible(rule.policy).into())
}

fn not_eligible(policy: Option<PolicyId>) -> Problem {
    let policy = policy.map(|id| id.to_string());
    Problem::new(ErrorCode::ApproverNotEligible).with("policy_id", policy)
}

/// The policy, if the caller may change it.
///
/// # Errors
/// POLICY_NOT_FOUND, FORBIDDEN{required_permission, environment}.
pub async fn reachable(platform: &Platform, caller: &Caller, id: PolicyId) -> Result<PolicyRecord, UseCaseError> {
    let found = find(platform, id).await?;
    require_reach(caller, found.content.environment)?;
    Ok(found)
}

/// Who writes a policy decides about every request it is for, so the right must reach as far as the policy does.
///
/// # Errors
/// FORBIDDEN{required_permission, environment}.
pub fn require_reach(caller: &Caller, environment: PolicyEnvironment) -> Result<(), Problem> {
    caller.require(Permission::ApprovalPolicy)?;
    let held = caller.subject.environments(Permission::ApprovalPolicy, None);
    let missing = Environment::ALL
        .into_iter()
        .find(|one| environment.covers(*one) && !held.contains(*one));
    match missing {
        None => Ok(()),
        Some(environment) => Err(Problem::new(ErrorCode::Forbidden)
            .with("required_permission", Permission::ApprovalPolicy.as_str())
            .with("environment", environment.as_str())),
    }
}

fn missing(id: PolicyId) -> Problem {
    Problem::not_found(ErrorCode::PolicyNotFound, id)
}
