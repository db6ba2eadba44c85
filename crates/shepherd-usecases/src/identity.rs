//! Users and their role bindings.

pub mod account;
pub mod create_user;
pub mod delete_user;
pub mod search_users;
pub mod update_user;
