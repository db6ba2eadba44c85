//! The product as it is shipped: the real binary as a process, a real PostgreSQL, clusters over their HTTP API.
//!
//! Every test has an installation of its own ([`world::World`]) and sees it as a client, an administrator of the
//! database or the cluster would.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step of a test should end it where it stands"
)]

mod access;
mod accounts;
mod adoption;
mod all_or_nothing;
mod attacks;
mod audit;
mod audit_webhooks;
mod audited;
mod backups;
mod bad_input;
mod batches;
mod bootstrap;
mod client;
mod clones;
mod clusters;
mod configuration;
mod consoles;
mod coverage;
mod crashes;
mod database_faults;
mod dead_letters;
mod external_approvals;
mod failures;
mod idempotency;
mod in_process;
mod initial_password;
mod instance_sizes;
mod keys;
mod members;
mod metrics;
mod migrations;
mod model;
mod modified_specs;
mod modify;
mod openapi;
mod policies;
mod power;
mod races;
mod rate_limits;
mod readiness;
mod reconciler;
mod replicas;
mod revisions;
mod roles;
mod schemas;
mod server;
mod snapshots;
mod starting;
mod stopping;
mod story;
mod templates;
mod temporary_rights;
mod traces;
mod upkeep;
mod watching;
mod workbench;
mod world;
