//! The adapter against a real PostgreSQL: every statement runs, every row decodes, and what the ports promise about
//! conditions, order and transactions holds.

mod idempotency;
mod leases;
mod lists;
mod notifications;
mod projection;
mod queries;
mod queue;
mod transactions;
mod transitions;
mod world;

/// What a test answers.
type TestResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;
