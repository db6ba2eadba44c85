//! The rules of the domain, compared with tables and checkers that were written from the specification and not from
//! the code. Where a rule is about all inputs, random ones are tried.

mod access;
mod adoption;
mod audit_webhook;
mod effective_spec;
mod environments;
mod event;
mod naming;
mod network;
mod password;
mod permissions;
mod placement;
mod policy;
mod reconciler;
mod redaction;
mod resource_roles;
mod seeds;
mod sizes;
mod templates;
mod ticket;
mod vm;
