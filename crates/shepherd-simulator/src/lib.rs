//! A KubeVirt cluster without the cluster.
//!
//! `shepherd-simulator` speaks the real Kubernetes HTTP API over HTTPS with bearer tokens, stores objects the
//! way an API server does, and plays the controllers' part, so that a virtual machine that is created goes
//! through Provisioning and Starting to Running. A `kube` client cannot tell it from a cluster. It serves
//! demos (as the binary of the same name) and tests (in-process, through this library).
//!
//! ```no_run
//! # async fn demo() -> Result<(), shepherd_simulator::SimulatorError> {
//! use shepherd_simulator::{FaultEffect, FaultRule, Simulator, SimulatorConfig, Timing};
//!
//! let config = SimulatorConfig { timing: Timing::instant(), ..SimulatorConfig::default() };
//! let simulator = Simulator::start(config).await?;
//! let kubeconfig = simulator.kubeconfig(); // hand this to a client
//! simulator.faults().inject(FaultRule::next(1, "PATCH", "/virtualmachines", FaultEffect::throttled(1)));
//! let vm = simulator.cluster().get("VirtualMachine", "default", "web");
//! simulator.stop().await;
//! # drop((kubeconfig, vm)); Ok(())
//! # }
//! ```
//!
//! # What is real
//!
//! - **API**: discovery (plain and aggregated), get, list with consistent pages, watch with bookmarks, initial
//!   events and 410, create, update, the three patch formats, delete with preconditions, finalizers and
//!   propagation, `dryRun=All`, `fieldValidation`, status subresources, and `Status` bodies for every refusal.
//! - **Server-side apply**: `managedFields` per manager, conflicts with causes, force, removal of fields no
//!   longer sent. As in KubeVirt's schema the lists of a virtual machine are atomic.
//! - **KubeVirt**: `start`, `stop`, `restart`, `pause`, `unpause`; data volumes and claims; scheduling by
//!   processors, memory, huge pages and devices; instance types; live migration and its cancellation; snapshots,
//!   restores and clones; owner references and namespaces.
//! - **Consoles**: `vnc` is an RFB 3.8 server whose picture shows what was typed and pointed at ([`screen`] is what
//!   it shows before), `console` a line with a few commands; both over WebSockets, with back-pressure.
//! - **Schemas**: kinds whose definitions are given in [`SimulatorConfig::crds`] are pruned, defaulted and
//!   validated by them; other kinds by a few built-in rules.
//! - **Rights**: [`Simulator::add_user`] makes users who may do only what their grants say.
//!
//! # What tests can provoke
//!
//! | in the object | effect |
//! |---|---|
//! | `reject-me` in an annotation or image | refused by an admission webhook |
//! | `missing-image` in an image | `ErrImagePull`, then `ImagePullBackOff` |
//! | a device no node has, or too much memory | `ErrorUnschedulable` |
//! | a storage class that does not exist | stays `Provisioning` |
//!
//! Everything else that can go wrong is a switch of [`Faults`], also over HTTP at `/simulator/faults`.
//!
//! # What is left out
//!
//! Strategic merge patch, the `Table` and `PartialObjectMetadata` representations, OpenAPI documents, and rules
//! in CEL are not served. A snapshot keeps the definition of a machine, not the content of its disks. One version
//! of each group is served. The restricted user may use discovery and health checks, as every authenticated user
//! of a real cluster may, and nothing else.

mod access;
mod api;
mod chaos;
mod cluster;
mod config;
mod console;
mod controller;
mod credentials;
mod faults;
mod host;
mod inspect;
mod object;
mod patch;
mod quantity;
mod resources;
mod schema;
mod seed;
mod selector;
mod server;
mod state;
mod status;
mod store;
mod validation;

pub use access::{Grant, Refusal};
pub use chaos::Chaos;
pub use config::{CertificateAge, ClusterSeed, NodeSeed, SimulatorConfig, StorageClassSeed, Timing};
pub use console::screen;
pub use faults::{FaultEffect, FaultId, FaultRule, Faults};
pub use inspect::{ClusterHandle, RecordedRequest};
pub use schema::files::read_definitions;
pub use server::{Simulator, SimulatorError};
