//! One module per use case. Transactions begin and end here, and nowhere else.
//!
//! A use case takes a [`Platform`] (the ports it may reach), the [`Caller`](shepherd_ports::context::Caller), and a
//! command that was parsed at the edge. It authorises, reads, calls clusters with no transaction open, and then
//! writes everything that belongs together in one unit of work.

pub mod adoption;
pub mod approval;
pub mod audit;
pub mod audit_webhook;
pub mod auth;
pub mod authorization;
pub mod batch;
pub mod bootstrap;
pub mod clone;
pub mod cluster;
pub mod configuration;
pub mod confirmation;
pub mod console;
pub mod controllers;
pub mod credential;
pub mod dead_letter;
pub mod doctor;
pub mod encryption;
pub mod error;
pub mod execution;
pub mod external_approval;
pub mod idempotency;
pub mod identity;
pub mod instance_size;
pub mod legal_hold;
pub mod limit;
pub mod migration;
pub mod namespace;
pub mod notification;
pub mod platform;
pub mod policy;
pub mod reconciler;
pub mod revision;
pub mod role;
pub mod schema;
pub mod seed;
pub mod service;
pub mod session;
pub mod settings;
pub mod snapshot;
pub mod system;
pub mod template;
pub mod upkeep;
pub mod vm;

pub use error::UseCaseError;
pub use platform::Platform;
pub use settings::Settings;
