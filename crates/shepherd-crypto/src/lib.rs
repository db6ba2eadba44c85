//! Sealing of columns, and the few primitives that go with it.
//!
//! A sealed value is an AES-256-GCM envelope that says which key made it and is bound to its table, column and row.
//! The key ring is the only place that holds keys; nothing here knows what a value means, where it is stored or when
//! keys change. All randomness comes from the operating system through `ring`.

mod console;
mod digest;
mod envelope;
mod key_ring;
mod master_key;
mod random;

pub use digest::{hmac_hex, is_hmac_hex, keyed_hash, sha256_hex};
pub use key_ring::KeyRing;
pub use master_key::{KeyError, MasterKey, Purpose};
pub use random::{random_bytes, random_guest_password, random_password};
