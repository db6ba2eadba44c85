//! Senders of notifications: where a notification goes once a use case has said what and to whom.
//!
//! There is one so far, the inbox. Channels that leave the platform will stand beside it and must not do so inside the
//! caller's transaction.

mod inbox;

pub use inbox::InboxSender;
