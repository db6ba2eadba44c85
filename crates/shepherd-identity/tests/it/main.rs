//! What password hashes and session tokens promise, and what attackers try.

mod guests;
mod passwords;
mod tokens;
