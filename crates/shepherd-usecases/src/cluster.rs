//! Clusters: registration and credentials.

pub mod credentials;
pub mod register;
