//! Senders of notifications: where a notification goes once a use case has said what and to whom.
//!
//! There is one so far, the inbox. What leaves the platform by HTTP goes through [`GuardedClient`], and never inside the
//! caller's transaction.

mod inbox;
mod outbound;

pub use inbox::InboxSender;
pub use outbound::GuardedClient;
