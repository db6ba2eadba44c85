//! The simulator over the wire: a plain HTTP client against a running cluster.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test should end it where it stands"
)]

mod consoles;
mod faults;
mod lifecycle;
mod operations;
mod schemas;
mod server;
mod watching;
mod writing;
