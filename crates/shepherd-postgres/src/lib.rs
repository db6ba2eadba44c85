//! The PostgreSQL adapter: repositories inside a unit of work, queries beside it, the job queue and its worker, leases.
//!
//! Every statement is SQL text that lives beside the port it serves; [`statement`] alone turns text into statements and
//! rows into the records of the ports (docs/adr/0005-rows-as-json-documents.md). Values are bound, never written into
//! the text. No rule is decided here: what may happen to a row is a `Transition` of the domain, and the statement only
//! asks whether the row still is where the transition starts.

mod adoptions;
mod audit;
mod audit_webhooks;
mod batch_items;
mod batches;
mod changes;
mod clones;
mod clusters;
mod consoles;
mod credentials;
mod dead_letters;
mod encryption_keys;
mod errors;
mod events;
mod external_approvals;
mod health;
mod idempotency;
mod identity;
mod leases;
mod legal_holds;
mod limits;
mod members;
mod metrics;
mod namespaces;
mod notifications;
mod periodic;
mod policies;
mod queue;
mod reconciler;
mod revisions;
mod roles;
mod schemas;
mod secrets;
mod services;
mod sessions;
mod sizes;
mod snapshots;
mod statement;
mod store;
mod systems;
mod templates;
mod tickets;
mod unit_of_work;
mod upkeep;
mod users;
mod vm_migrations;
mod vms;
mod watches;
mod workbench;
pub mod worker;

pub use store::{ConnectOptions, PgStore};
pub use worker::{QueueWorker, Silence, WorkerOptions, WorkerPulse};
