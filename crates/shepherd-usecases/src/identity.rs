//! Users and their role bindings, as far as an installation needs them to get going.

pub mod bind_role;
pub mod create_user;
