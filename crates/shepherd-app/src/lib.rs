//! The HTTP API, the composition root and the `shepherd` binary.
//!
//! Handlers translate between HTTP and use cases and do nothing else. [`bootstrap`] is the one place where adapters
//! are constructed and wired, by hand; [`Extensions`] is what another program may put in their place.

pub mod bootstrap;
mod commands;
pub mod config;
mod extensions;
mod host;
pub mod http;
pub mod reload;
mod runtime;
mod scrape;
mod tasks;
mod telemetry;

pub use commands::{main, main_with};
pub use extensions::Extensions;
