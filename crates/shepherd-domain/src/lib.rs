//! The rules of Shepherd, and nothing else.
//!
//! Ids, states and their transitions, naming, the effective spec, the policy matrix, access rules, catalogue
//! rules and the input of rendering live here. There is no IO, no async, no clock and no randomness: every
//! function is a pure function of its arguments, so other services can reuse the rules as they are.

pub mod access;
pub mod actor;
pub mod adoption;
pub mod audit;
pub mod audit_webhook;
pub mod batch;
pub mod catalog;
pub mod cluster;
pub mod environment;
pub mod event;
pub mod external_approval;
pub mod ids;
pub mod infrastructure;
pub mod labels;
pub mod limit;
pub mod mask;
pub mod naming;
pub mod network;
pub mod notification;
pub mod page;
pub mod password;
pub mod placement;
pub mod policy;
pub mod problem;
pub mod reconciler;
pub mod redaction;
pub mod rendering;
pub mod revision;
pub mod schema;
pub mod spec;
pub mod ticket;
pub mod transition;
pub mod vm;

pub use actor::ActorId;
pub use environment::{Environment, EnvironmentSet};
pub use problem::{ErrorCode, Problem};
