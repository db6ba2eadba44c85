//! Login, sessions and passwords.

pub mod authenticate;
pub mod change_password;
pub mod login;
pub mod logout;
pub(crate) mod subjects;
pub(crate) mod throttle;

pub use subjects::SubjectCache;
