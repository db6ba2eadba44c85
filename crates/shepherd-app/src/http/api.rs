//! One module per group of operations. Handlers translate and nothing else.

mod adoptions;
mod approval_changes;
mod approval_policies;
mod approvals;
mod audit;
mod audit_webhooks;
mod auth;
mod batch_changes;
mod batches;
mod bulk_approval;
mod clones;
mod clusters;
mod configuration;
mod console_grants;
mod consoles;
mod dead_letters;
mod encryption_keys;
mod events;
mod external_approvals;
mod initial_password;
mod instance_sizes;
mod legal_holds;
mod members;
mod migrations;
mod namespaces;
mod notifications;
mod rate_limits;
mod reconciler;
mod request_context;
mod revisions;
mod role_bindings;
mod roles;
mod schema;
mod services;
mod sessions;
mod snapshots;
mod systems;
mod tasks;
mod templates;
mod users;
mod vm_changes;
mod vm_power;
mod vms;
mod vnc;
mod workbench;

use shepherd_domain::problem::{FieldCode, Problem};
use utoipa_actix_web::scope;
use utoipa_actix_web::service_config::ServiceConfig;

/// Base path of every operation.
pub const BASE: &str = "/api/v1";

/// All routes; the document is made from the same list.
pub fn routes(config: &mut ServiceConfig) {
    config.service(
        scope::scope(BASE)
            .service(super::health::live)
            .service(super::health::ready)
            .service(super::openapi::served)
            .configure(auth::routes)
            .configure(systems::routes)
            .configure(members::routes)
            .configure(services::routes)
            // Before the machines, of which none has this name for an id.
            .configure(request_context::routes)
            .configure(batches::routes)
            .configure(vms::routes)
            .configure(initial_password::routes)
            .configure(vm_power::routes)
            .configure(vnc::routes)
            .configure(vm_changes::routes)
            .configure(revisions::routes)
            .configure(approvals::routes)
            .configure(approval_policies::routes)
            .configure(approval_changes::routes)
            .configure(batch_changes::routes)
            .configure(bulk_approval::routes)
            .configure(workbench::routes)
            .configure(tasks::routes)
            .configure(events::routes)
            .configure(clusters::routes)
            .configure(namespaces::routes)
            .configure(templates::routes)
            .configure(instance_sizes::routes)
            .configure(schema::routes)
            .configure(users::routes)
            .configure(sessions::routes)
            .configure(roles::routes)
            .configure(role_bindings::routes)
            .configure(notifications::routes)
            .configure(audit::routes)
            .configure(adoptions::routes)
            .configure(clones::routes)
            .configure(configuration::routes)
            .configure(dead_letters::routes)
            .configure(encryption_keys::routes)
            .configure(migrations::routes)
            .configure(reconciler::routes)
            .configure(snapshots::routes)
            .configure(consoles::routes)
            .configure(console_grants::routes)
            .configure(legal_holds::routes)
            .configure(rate_limits::routes)
            .configure(external_approvals::routes)
            .configure(audit_webhooks::routes),
    );
}

/// VALIDATION_FAILED for a sort key that the list does not have.
fn unknown_sort() -> Problem {
    Problem::invalid_field("sort_by", FieldCode::UnknownValue)
}

/// Whether `sort_order` asks for the reverse.
fn descending(sort_order: Option<&str>, default: bool) -> Result<bool, Problem> {
    match sort_order {
        None => Ok(default),
        Some("asc") => Ok(false),
        Some("desc") => Ok(true),
        Some(_) => Err(Problem::invalid_field("sort_order", FieldCode::UnknownValue)),
    }
}
