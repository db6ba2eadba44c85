//! Somebody asks for the console of a machine.

use shepherd_domain::Environment;
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::ids::VmId;
use shepherd_domain::policy::Decision;
use shepherd_domain::problem::ErrorCode;
use shepherd_domain::ticket::RequestType;
use shepherd_ports::consoles::GrantRecord;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::vms::VmRecord;

use super::token::Source;
use super::{Opened, grants, open};
use crate::execution::Operations;
use crate::idempotency::{self, Answer};
use crate::vm::{self, Submitted, request_console, submission};
use crate::{Platform, UseCaseError, policy};

/// What became of it.
pub enum Asked {
    /// There is access now.
    Opened(Box<Opened>),
    /// It waits for an approver.
    Waiting(Answer<Submitted>),
}

/// Gives access, or files a request for it. A live grant of the caller is used again wherever the machine runs.
///
/// # Errors
/// FORBIDDEN, VM_NOT_FOUND, VALIDATION_FAILED, VM_NOT_RUNNING, DUPLICATE_PENDING_VNC_REQUEST,
/// NAMESPACE_NOT_REGISTERED, RATE_LIMIT_EXCEEDED{console_tokens}.
pub async fn execute(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    id: VmId,
    reason: Option<String>,
    request: Option<&IdempotentRequest>,
) -> Result<Asked, UseCaseError> {
    caller.require(Permission::VncAccess)?;
    if let Some(answer) = idempotency::replay(platform, request).await? {
        return Ok(Asked::Waiting(answer));
    }
    let vm = vm::visible(platform, caller, Permission::VncAccess, ResourceAction::Operate, id).await?;
    let reason = submission::optional_reason(reason)?;
    super::require_running(&vm)?;
    let grant = match live(platform, caller, &vm).await? {
        Some(grant) => grant,
        None => match obtain(platform, operations, caller, &vm, reason, request).await? {
            Obtained::Grant(grant) => *grant,
            Obtained::Waiting(answer) => return Ok(Asked::Waiting(answer)),
        },
    };
    let opened = open(platform, caller, &vm, grant, Source::ConsoleRequest).await?;
    Ok(Asked::Opened(Box::new(opened)))
}

enum Obtained {
    Grant(Box<GrantRecord>),
    Waiting(Answer<Submitted>),
}

/// Test gives access directly unless a policy asks for a decision; whatever is given in prod has a ticket.
async fn obtain(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    vm: &VmRecord,
    reason: Option<String>,
    request: Option<&IdempotentRequest>,
) -> Result<Obtained, UseCaseError> {
    let facts = policy::facts::of_machine(platform, RequestType::VncAccess, caller.subject.user(), vm).await?;
    let rule = policy::rule(platform, &facts).await?;
    let decided = rule.policy.map(|_| rule.decision);
    match (vm.environment, decided) {
        (Environment::Test, None | Some(Decision::AutoApproved)) => {
            let grant = grants::direct(platform, caller, vm, reason.as_deref()).await?;
            return Ok(Obtained::Grant(Box::new(grant)));
        }
        (Environment::Test, Some(Decision::RequiresApproval)) | (Environment::Prod, _) => {}
    }
    // An approval at once leaves a grant, which answers the same request again; what is stored under a key waits.
    let request = request.filter(|_| rule.decision == Decision::RequiresApproval);
    let waits = rule.decision == Decision::RequiresApproval;
    match request_console::execute(platform, operations, caller, vm, rule, reason, request).await {
        Ok(answer) if waits => Ok(Obtained::Waiting(answer)),
        Ok(_) => match live(platform, caller, vm).await? {
            Some(grant) => Ok(Obtained::Grant(Box::new(grant))),
            None => Err(UseCaseError::Broken("an approval of a policy left no grant")),
        },
        // The caller got access while this request was on its way.
        Err(UseCaseError::Problem(problem)) if problem.code == ErrorCode::DuplicatePendingVncRequest => {
            match live(platform, caller, vm).await? {
                Some(grant) => Ok(Obtained::Grant(Box::new(grant))),
                None => Err(problem.into()),
            }
        }
        Err(error) => Err(error),
    }
}

async fn live(platform: &Platform, caller: &Caller, vm: &VmRecord) -> Result<Option<GrantRecord>, UseCaseError> {
    let user = caller.subject.user();
    Ok(platform.read.console_standing(vm.id, user, platform.now()).await?.live)
}
