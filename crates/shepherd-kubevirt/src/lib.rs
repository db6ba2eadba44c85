//! The KubeVirt adapter: everything that knows Kubernetes types, and nothing else does.
//!
//! - [`intake`] decides which kubeconfigs are stored at all
//! - `registry` keeps clusters apart: each has its own client, permits, pace and breaker
//! - [`render`] makes documents, without a client
//! - [`provider`] puts calls together from `apply`, `namespaces`, `detect` and `watch`, one file per kind of call
//! - `discovery` and `objects` serve the kinds that a cluster need not have: snapshots, clones and the like
//! - `mapping` and `errors` are the anti-corruption layer: what clusters say, in the words of the domain
//!
//! Use cases, HTTP and the database must not appear here.

mod apply;
mod clones;
mod console;
mod detect;
mod discovery;
mod disks;
mod errors;
mod instance_types;
pub mod intake;
mod listing;
mod machines;
mod manifest;
mod mapping;
mod marking;
mod migrations;
mod modifying;
mod namespaces;
mod objects;
mod plain;
mod power;
pub mod provider;
mod quantity;
mod registry;
pub mod render;
mod schema;
mod snapshots;
mod watch;

pub use intake::Intake;
pub use provider::{CallLimits, KubeVirtProvider};
pub use render::KubeVirtRenderer;
