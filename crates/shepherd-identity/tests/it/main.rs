//! What password hashes and session tokens promise, and what attackers try.

mod passwords;
mod tokens;
