//! The rules of the domain, compared with tables and checkers that were written from the specification and not from
//! the code. Where a rule is about all inputs, random ones are tried.

mod access;
mod adoption;
mod audit_webhook;
mod batch;
mod derived_columns;
mod effective_spec;
mod environments;
mod event;
mod limit;
mod mask;
mod modification;
mod naming;
mod network;
mod overrides;
mod password;
mod permissions;
mod placement;
mod policies;
mod policy;
mod problems;
mod reconciler;
mod redaction;
mod replacement;
mod resource_roles;
mod revision;
mod schemas;
mod seeds;
mod sizes;
mod templates;
mod ticket;
mod vm;
