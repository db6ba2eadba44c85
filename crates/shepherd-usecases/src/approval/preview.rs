//! What a decision would do, shown before anybody makes it. Nothing is stored.

use serde_json::Value;
use shepherd_domain::problem::{Problem, Warning};
use shepherd_domain::revision::{Change, diff, masked_yaml};
use shepherd_domain::spec::replacement;
use shepherd_ports::context::Caller;
use shepherd_ports::tickets::TicketRecord;

use super::TicketRef;
use super::approve::Choice;
use super::modify;
use crate::execution::{DryRunResult, Examined, Operations, specs};
use crate::{Platform, UseCaseError, batch, policy};

/// What would be decided.
#[derive(Clone, Debug, Default)]
pub struct Proposal {
    /// The spec that would take the place of what was asked for; absent leaves the one that is stored.
    pub spec: Option<Value>,
    /// Where it would go.
    pub choice: Choice,
}

/// What would come of it.
#[derive(Clone, Debug)]
pub struct Preview {
    /// What the proposal changes about what was asked for.
    pub changes: Vec<Change>,
    /// What would be carried out.
    pub effective_spec: Value,
    /// The machine that would be applied, secrets masked and without its guest data; for new and modified machines.
    pub rendered_yaml: Option<String>,
    /// Findings that would not stop the decision.
    pub warnings: Vec<Warning>,
    /// Findings that would, in the order of the checks.
    pub blocking: Vec<Problem>,
    /// What the cluster said, when it was asked.
    pub dry_run: Option<DryRunResult>,
}

/// Looks at a proposal from all sides: the checks of an approval go on after a refusal, but for those that depend on
/// what was refused.
///
/// # Errors
/// Those of a decision before its checks; MODIFIED_SPEC_NOT_SUPPORTED, INVALID_REQUEST_FIELD and VALIDATION_FAILED about
/// the proposed spec.
pub async fn execute(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    ticket: &TicketRef,
    proposal: &Proposal,
) -> Result<Preview, UseCaseError> {
    let mut ticket = super::decidable(platform, caller, ticket).await?;
    let payload = specs::payload(platform, &ticket).await?;
    let original = payload.get("spec").unwrap_or(&payload);
    let mut warnings = Vec::new();
    if let Some(spec) = &proposal.spec {
        replacement::check_replaceable(ticket.request_type)?;
        match modify::propose(platform, &ticket, original, spec).await? {
            Ok(replaced) => {
                warnings.extend(replaced.warnings);
                ticket.modified_spec = Some(replaced.spec);
            }
            Err(refused) => return Ok(inadmissible(original, spec, refused)),
        }
    }
    let mut examined = if ticket.request_type.is_batch() {
        batch::approve::examine(platform, operations, caller, &ticket, &proposal.choice).await?
    } else {
        let operation = operations.of_request(ticket.request_type)?;
        operation.examine(platform, &ticket, &payload, &proposal.choice).await?
    };
    if let Some(spec) = &ticket.modified_spec
        && let Some(refused) = left_to_others(platform, caller, &ticket, spec).await?
    {
        examined.findings.blocking.insert(0, refused);
    }
    warnings.extend(examined.findings.warnings.iter().cloned());
    shown(original, &ticket, examined, warnings)
}

/// Why this caller may not decide about the spec.
async fn left_to_others(
    platform: &Platform,
    caller: &Caller,
    ticket: &TicketRecord,
    spec: &Value,
) -> Result<Option<Problem>, UseCaseError> {
    match policy::require_eligible_for(platform, caller, ticket, spec).await {
        Ok(()) => Ok(None),
        Err(UseCaseError::Problem(problem)) => Ok(Some(problem)),
        Err(error) => Err(error),
    }
}

/// Without a spec there is nothing that further checks could look at.
fn inadmissible(original: &Value, proposed: &Value, refused: Problem) -> Preview {
    Preview {
        changes: diff(original, proposed),
        effective_spec: proposed.clone(),
        rendered_yaml: None,
        warnings: Vec::new(),
        blocking: vec![refused],
        dry_run: None,
    }
}

fn shown(
    original: &Value,
    ticket: &TicketRecord,
    examined: Examined,
    warnings: Vec<Warning>,
) -> Result<Preview, UseCaseError> {
    let effective = ticket.modified_spec.as_ref().unwrap_or(original);
    let rendered_yaml = examined.document.map(|document| masked_yaml(&document.object));
    let rendered_yaml = rendered_yaml
        .transpose()
        .map_err(|_| UseCaseError::Broken("a rendered document is no YAML"))?;
    Ok(Preview {
        changes: diff(original, effective),
        effective_spec: effective.clone(),
        rendered_yaml,
        warnings,
        blocking: examined.findings.blocking,
        dry_run: examined.dry_run,
    })
}
