//! The adapter against a real PostgreSQL: every statement runs, every row decodes, and what the ports promise about
//! conditions, order and transactions holds.

mod accounts;
mod adoptions;
mod audit;
mod audit_webhooks;
mod batches;
mod clusters;
mod console_tokens;
mod consoles;
mod credentials;
mod dead_letters;
mod external_approvals;
mod idempotency;
mod leases;
mod limits;
mod lists;
mod logins;
mod members;
mod metrics;
mod notifications;
mod operations;
mod periodic;
mod policies;
mod pools;
mod projection;
mod queries;
mod queue;
mod races;
mod reconciler;
mod revisions;
mod roles;
mod schemas;
mod sizes;
mod templates;
mod transactions;
mod transitions;
mod upkeep;
mod visibility;
mod workbench;
mod world;

/// What a test answers.
type TestResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;
