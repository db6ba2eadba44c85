//! The HTTP API, the composition root and the `shepherd` binary.
//!
//! Handlers translate between HTTP and use cases and do nothing else. [`bootstrap`] is the one place where adapters
//! are constructed and wired, by hand.

pub mod bootstrap;
mod commands;
pub mod config;
mod host;
pub mod http;
mod runtime;
mod scrape;
mod tasks;
mod telemetry;

pub use commands::main;
