//! Where the children of a batch go that is approved by its policy.

use shepherd_ports::context::Caller;
use shepherd_ports::tickets::NewTicket;

use super::items::Child;
use crate::approval::approve::Choice;
use crate::approval::suggest::{self, Wanted};
use crate::execution::{Operations, Placed};
use crate::vm::filing::provisional;
use crate::{Platform, UseCaseError};

/// Places every child as an approver would, with no transaction open, in their order: machines stay where they are, new
/// ones go to one cluster, which is the best for the first of them. Nothing when that cluster does not take all of them.
///
/// # Errors
/// When the store fails.
pub(super) async fn find(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    children: &[Child],
    tickets: Vec<NewTicket>,
) -> Result<Option<Vec<Placed>>, UseCaseError> {
    let fixed: Vec<Placed> = children.iter().filter_map(|child| child.placed.clone()).collect();
    if fixed.len() == children.len() {
        return Ok(Some(fixed));
    }
    let Some(choice) = choose(platform, children).await? else {
        return Ok(None);
    };
    let mut places = Vec::with_capacity(children.len());
    for (child, ticket) in children.iter().zip(tickets) {
        let operation = operations.of_request(child.request)?;
        let ticket = provisional(ticket, caller);
        match operation.place(platform, &ticket, &child.payload, &choice).await {
            Ok(placed) => places.push(placed),
            Err(UseCaseError::Problem(problem)) => {
                tracing::info!(code = %problem.code, "a batch cannot be approved by its policy; it waits");
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(places))
}

async fn choose(platform: &Platform, children: &[Child]) -> Result<Option<Choice>, UseCaseError> {
    let Some((_, checked)) = children.first().and_then(|child| child.created.as_deref()) else {
        return Ok(Some(Choice::default()));
    };
    let wanted = Wanted {
        namespace: &checked.namespace.name,
        environment: checked.namespace.environment,
        size: &checked.size.size,
    };
    let best = suggest::best(platform, wanted).await?;
    Ok(best.map(|cluster| Choice {
        cluster: Some(cluster),
        ..Choice::default()
    }))
}
