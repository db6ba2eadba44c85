//! The sender: it writes rows in the transaction of the change, and nothing else.
//!
//! A sender is called while that transaction is open and may still be rolled back. One that posted to the chat here
//! would tell of things that never happened, and would keep locks for as long as the chat takes to answer. So a copy
//! goes to the inbox of an account that stands for the chat; it is there exactly when the change is.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_domain::ids::UserId;
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType};
use shepherd_ports::RepositoryError;
use shepherd_ports::notifications::{NotificationRepository, NotificationSender};

/// Sends to the inbox as the product does, and a copy of what everybody should see to the account of the chat.
#[derive(Debug)]
pub(crate) struct ChatSender {
    account: UserId,
}

impl ChatSender {
    pub(crate) fn new(account: UserId) -> Self {
        Self { account }
    }
}

/// What waits for somebody and what is wrong; what only concerns one person stays in that person's inbox.
fn is_for_everybody(draft: &NotificationDraft) -> bool {
    match draft.kind {
        NotificationType::ApprovalPending | NotificationType::SystemAlert => true,
        NotificationType::ApprovalCompleted | NotificationType::ApprovalRejected | NotificationType::VmStatusChange => {
            false
        }
    }
}

#[async_trait]
impl NotificationSender for ChatSender {
    async fn send(
        &self,
        store: &mut dyn NotificationRepository,
        audience: Audience,
        draft: NotificationDraft,
        at: DateTime<Utc>,
    ) -> Result<(), RepositoryError> {
        self.send_many(store, vec![(audience, draft)], at).await
    }

    async fn send_many(
        &self,
        store: &mut dyn NotificationRepository,
        mut messages: Vec<(Audience, NotificationDraft)>,
        at: DateTime<Utc>,
    ) -> Result<(), RepositoryError> {
        let copies: Vec<_> = messages
            .iter()
            .filter(|(_, draft)| is_for_everybody(draft))
            .map(|(_, draft)| (Audience::User(self.account), draft.clone()))
            .collect();
        messages.extend(copies);
        store.insert_many(&messages, at).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use shepherd_domain::ids::NotificationId;
    use shepherd_domain::notification::Severity;

    use super::*;

    const CHAT: UserId = UserId::from_bits(7);
    const ALICE: UserId = UserId::from_bits(8);

    /// Remembers who would have got something.
    #[derive(Default)]
    struct Rows(Vec<(Audience, String)>);

    #[async_trait]
    impl NotificationRepository for Rows {
        async fn insert_for(
            &mut self,
            audience: Audience,
            draft: &NotificationDraft,
            _at: DateTime<Utc>,
        ) -> Result<u64, RepositoryError> {
            self.0.push((audience, draft.title().to_owned()));
            Ok(1)
        }

        async fn mark_read(&mut self, _: UserId, _: NotificationId, _: DateTime<Utc>) -> Result<bool, RepositoryError> {
            Ok(false)
        }

        async fn mark_all_read(&mut self, _: UserId, _: DateTime<Utc>) -> Result<(), RepositoryError> {
            Ok(())
        }
    }

    fn draft(kind: NotificationType, title: &str) -> NotificationDraft {
        NotificationDraft::new(kind, Severity::Info, title, "")
    }

    #[tokio::test]
    async fn the_chat_gets_a_copy_of_what_is_for_everybody() {
        let mut rows = Rows::default();
        let messages = vec![
            (
                Audience::PlatformAdmins,
                draft(NotificationType::SystemAlert, "a cluster is down"),
            ),
            (
                Audience::User(ALICE),
                draft(NotificationType::VmStatusChange, "it runs"),
            ),
        ];
        let sender = ChatSender::new(CHAT);
        sender
            .send_many(&mut rows, messages, DateTime::UNIX_EPOCH)
            .await
            .unwrap();
        let expected = [
            (Audience::PlatformAdmins, "a cluster is down"),
            (Audience::User(ALICE), "it runs"),
            (Audience::User(CHAT), "a cluster is down"),
        ]
        .map(|(audience, title)| (audience, title.to_owned()));
        assert_eq!(rows.0, expected);
    }
}
