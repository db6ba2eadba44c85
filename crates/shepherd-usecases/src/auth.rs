//! Login, sessions and passwords.

pub mod authenticate;
pub mod change_password;
pub mod login;
pub mod logout;
mod subjects;

pub use subjects::SubjectCache;
