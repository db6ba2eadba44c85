//! The traits between the use cases and the outside world, and the records that cross them.
//!
//! Repositories are borrowed from a [`UnitOfWork`], which *is* the transaction. Queries read committed state and
//! belong to no transaction. Providers speak to clusters and are not reachable from a unit of work, so no network
//! call can happen inside a transaction by accident.

pub mod adoptions;
pub mod audit;
pub mod audit_webhooks;
pub mod authentication;
pub mod batch_items;
pub mod batches;
pub mod changes;
pub mod clock;
pub mod clones;
pub mod clusters;
pub mod consoles;
pub mod context;
pub mod credentials;
pub mod crypto;
pub mod dead_letters;
pub mod encryption_keys;
pub mod error;
pub mod events;
pub mod external_approvals;
pub mod health;
pub mod idempotency;
pub mod identity;
pub mod leases;
pub mod legal_holds;
pub mod limits;
pub mod members;
pub mod metrics;
pub mod migrations;
pub mod namespaces;
pub mod notifications;
pub mod outbound;
pub mod policies;
pub mod providers;
pub mod queue;
pub mod reconciler;
pub mod revisions;
pub mod roles;
pub mod schemas;
pub mod secrets;
pub mod services;
pub mod sessions;
pub mod sizes;
pub mod snapshots;
pub mod systems;
pub mod templates;
pub mod tickets;
pub mod traces;
pub mod unit_of_work;
pub mod upkeep;
pub mod users;
pub mod vms;
pub mod watches;
pub mod workbench;

pub use clock::{Clock, IdSource};
pub use context::RequestContext;
pub use error::RepositoryError;
pub use unit_of_work::{UnitOfWork, UnitOfWorkFactory};
