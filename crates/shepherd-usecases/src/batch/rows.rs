//! The rows of a batch: the parent, the batch itself, and one child for every item.

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::event::{AggregateType, EventStatus};
use shepherd_domain::ids::{EventId, TicketId};
use shepherd_domain::policy::Rule;
use shepherd_domain::ticket::TicketStatus;
use shepherd_ports::batches::NewBatch;
use shepherd_ports::events::NewEvent;
use shepherd_ports::tickets::{BatchSummary, Named, NewTicket, TicketContext};

use super::filing::Filing;
use super::items::Child;
use crate::UseCaseError;
use crate::vm::submission;

/// The ids of the rows that are there once.
#[derive(Clone, Copy)]
pub(super) struct Ids {
    pub(super) event: EventId,
    pub(super) batch: TicketId,
}

impl Filing<'_> {
    pub(super) fn batch(&self, ids: Ids, now: DateTime<Utc>) -> NewBatch {
        NewBatch {
            id: ids.batch,
            kind: self.kind(),
            power_action: self.wanted.asked.power(),
            environment: self.environment,
            child_count: self.child_count(),
            request_id: self.wanted.request_id,
            request_hash: self.wanted.hash.clone(),
            reason: self.wanted.reason.clone(),
            created_by: self.caller.subject.user(),
            at: now,
        }
    }

    pub(super) fn child_count(&self) -> i32 {
        i32::try_from(self.children.len()).unwrap_or(i32::MAX)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.children.iter().map(|child| child.name.clone()).collect()
    }

    pub(super) fn parent_event(&self, ids: Ids, status: EventStatus, now: DateTime<Utc>) -> NewEvent {
        NewEvent {
            id: ids.event,
            event_type: self.kind().requested(),
            aggregate_type: AggregateType::Batch,
            aggregate_id: ids.batch.to_string(),
            payload: json!({
                "schema": 1, "operation": self.wanted.asked.operation(), "child_count": self.child_count(),
                "names": self.names(), "requester": self.caller.subject.user(), "reason": self.wanted.reason,
            }),
            status,
            causation_id: None,
            environment: Some(self.environment),
            created_by: self.caller.context.actor.clone(),
            at: now,
            trace_id: self.caller.context.request_id.clone(),
            trace_parent: self.platform.traces.current(),
        }
    }

    pub(super) fn parent_ticket(&self, ids: Ids, status: TicketStatus, now: DateTime<Utc>) -> NewTicket {
        let children = self.children;
        NewTicket {
            id: ids.batch,
            event_id: ids.event,
            request_type: self.kind().request_type(),
            status,
            environment: self.environment,
            requester: self.caller.subject.user(),
            reason: self.wanted.reason.clone(),
            system_id: shared(children.iter().map(|child| child.system)),
            service_id: shared(children.iter().map(|child| child.service)),
            vm_id: None,
            template_id: shared(children.iter().map(|child| child.template)).flatten(),
            instance_size_id: shared(children.iter().map(|child| child.size)).flatten(),
            namespace: shared(children.iter().map(|child| child.namespace.clone())),
            context: self.parent_context(),
            policy: self.rule.policy,
            approvers: self.rule.approvers.clone(),
            external_system: self.rule.external_system,
            at: now,
            parent: None,
        }
    }

    /// What all children have in common, and what they are about.
    fn parent_context(&self) -> TicketContext {
        let contexts = || self.children.iter().map(|child| &child.context);
        let system: Option<Option<Named>> = shared(contexts().map(|context| context.system.clone()));
        let service: Option<Option<Named>> = shared(contexts().map(|context| context.service.clone()));
        TicketContext {
            requester: Some(submission::requester(self.caller)),
            system: system.flatten(),
            service: service.flatten(),
            namespace: shared(self.children.iter().map(|child| child.namespace.clone())),
            environment: Some(self.environment),
            template: shared(contexts().map(|context| context.template.clone())).flatten(),
            instance_size: shared(contexts().map(|context| context.instance_size.clone())).flatten(),
            batch: Some(BatchSummary {
                child_count: self.child_count(),
                names: self.names(),
            }),
            ..TicketContext::default()
        }
    }

    pub(super) fn child_event(
        &self,
        ids: Ids,
        child: &Child,
        id: EventId,
        status: EventStatus,
        now: DateTime<Utc>,
    ) -> Result<NewEvent, UseCaseError> {
        let (aggregate_type, aggregate_id) = child.aggregate.clone();
        Ok(NewEvent {
            id,
            event_type: self.operations.of_request(child.request)?.requested(),
            aggregate_type,
            aggregate_id,
            payload: child.payload.clone(),
            status,
            causation_id: Some(ids.event),
            environment: Some(child.environment),
            created_by: self.caller.context.actor.clone(),
            at: now,
            trace_id: self.caller.context.request_id.clone(),
            trace_parent: self.platform.traces.current(),
        })
    }

    pub(super) fn child_ticket(
        &self,
        ids: Ids,
        (child, rule, sequence_no): (&Child, &Rule, i32),
        (event, id): (EventId, TicketId),
        status: TicketStatus,
        now: DateTime<Utc>,
    ) -> NewTicket {
        NewTicket {
            id,
            event_id: event,
            request_type: child.request,
            status,
            environment: child.environment,
            requester: self.caller.subject.user(),
            reason: child.reason.clone(),
            system_id: Some(child.system),
            service_id: Some(child.service),
            vm_id: child.vm,
            template_id: child.template,
            instance_size_id: child.size,
            namespace: Some(child.namespace.clone()),
            context: child.context.clone(),
            policy: rule.policy,
            approvers: rule.approvers.clone(),
            // The parent alone is handed over.
            external_system: None,
            at: now,
            parent: Some((ids.batch, sequence_no)),
        }
    }
}

/// The value that all have, if all have the same.
fn shared<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}
