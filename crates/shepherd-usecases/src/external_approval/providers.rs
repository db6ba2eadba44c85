//! The adapters, by the kind of system they speak to.

use std::sync::Arc;

use async_trait::async_trait;
use shepherd_domain::external_approval::BUILTIN;
use shepherd_domain::ids::TicketId;
use shepherd_ports::external_approvals::{
    ExternalApprovalProvider, ExternalStatus, OpenedSystem, ProviderFailure, TicketForApproval,
};

use super::webhook::Webhook;
use crate::Platform;

/// The registry. The built-in queue is always in it.
pub(super) struct Providers(Vec<Box<dyn ExternalApprovalProvider>>);

impl Providers {
    /// Every adapter of the product.
    pub(super) fn of(platform: &Platform) -> Self {
        let webhook = Webhook {
            outbound: Arc::clone(&platform.outbound),
            digests: Arc::clone(&platform.digests),
            clock: Arc::clone(&platform.clock),
        };
        Self(vec![Box::new(Builtin), Box::new(webhook)])
    }

    /// The adapter of a kind, if there is one.
    pub(super) fn get(&self, system_type: &str) -> Option<&dyn ExternalApprovalProvider> {
        let found = self.0.iter().find(|provider| provider.system_type() == system_type);
        found.map(|provider| &**provider)
    }

    /// The kinds that a system can have: those of all adapters but the built-in one, which needs no system.
    pub(super) fn kinds(&self) -> Vec<&'static str> {
        let kinds = self.0.iter().map(|provider| provider.system_type());
        kinds.filter(|kind| *kind != BUILTIN).collect()
    }
}

/// The queue of the platform itself: a ticket is there already, and its approvers decide it there.
struct Builtin;

#[async_trait]
impl ExternalApprovalProvider for Builtin {
    fn system_type(&self) -> &'static str {
        BUILTIN
    }

    async fn submit_for_approval(
        &self,
        _system: &OpenedSystem,
        ticket: &TicketForApproval,
    ) -> Result<String, ProviderFailure> {
        Ok(ticket.ticket_id.to_string())
    }

    async fn check_status(
        &self,
        _system: &OpenedSystem,
        _ticket: TicketId,
        _external_id: &str,
    ) -> Result<ExternalStatus, ProviderFailure> {
        Ok(ExternalStatus::Pending)
    }

    async fn cancel_request(
        &self,
        _system: &OpenedSystem,
        _ticket: TicketId,
        _external_id: &str,
    ) -> Result<(), ProviderFailure> {
        Ok(())
    }

    async fn probe(&self, _system: &OpenedSystem) -> Result<(), ProviderFailure> {
        Ok(())
    }
}
