//! Proof of identity: password hashes and session tokens.
//!
//! What a password must look like is the domain's business, whether a session is still alive the store's. Nothing here
//! reads a clock: times come in as arguments.

mod guest;
mod password;
mod token;

pub use guest::Sha512CryptHasher;
pub use password::Argon2Hasher;
pub use token::{JwtIssuer, SecretError};
