//! The KubeVirt adapter: everything that knows Kubernetes types, and nothing else does.
//!
//! - [`intake`] decides which kubeconfigs are stored at all
//! - `registry` turns stored kubeconfigs into clients and counts the calls of each cluster
//! - [`render`] makes documents, without a client
//! - [`provider`] puts calls together from `apply`, `namespaces`, `detect` and `watch`, one file per kind of call
//! - `mapping` and `errors` are the anti-corruption layer: what clusters say, in the words of the domain
//!
//! Use cases, HTTP and the database must not appear here.

mod apply;
mod detect;
mod errors;
pub mod intake;
mod machines;
mod mapping;
mod namespaces;
pub mod provider;
mod registry;
pub mod render;
mod watch;

pub use intake::Intake;
pub use provider::{CallLimits, KubeVirtProvider};
pub use render::KubeVirtRenderer;
