//! Notifications: their types, and what one says.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};

use crate::environment::Environment;
use crate::ids::{SystemId, TicketId, UserId};
use crate::redaction::{Redacted, redact_and_truncate};

/// What a notification is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, IntoStaticStr)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the names are the specification's and say it all")]
pub enum NotificationType {
    ApprovalPending,
    ApprovalCompleted,
    ApprovalRejected,
    VmStatusChange,
    SystemAlert,
}

/// How urgent it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the specification's and say it all")]
pub enum Severity {
    Info,
    Warning,
    Urgent,
}

/// Who gets it. The recipients are found by one set-based query in the caller's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// One user, when enabled.
    User(UserId),
    /// The owner of a machine; the owners of its System when that user is gone or disabled.
    VmOwner {
        /// `created_by` of the machine, when that is a user.
        owner: Option<UserId>,
        /// The System whose owners stand in.
        system: SystemId,
    },
    /// Enabled users who may decide tickets of this environment, without the requester unless the self-approval
    /// rule admits that one.
    Approvers {
        /// Environment of the ticket.
        environment: Environment,
        /// The requester to leave out.
        except: Option<UserId>,
    },
    /// Those of them whom the policy of this ticket lets decide it: all, when it names nobody.
    EligibleApprovers {
        /// The ticket.
        ticket: TicketId,
        /// The requester to leave out.
        except: Option<UserId>,
    },
    /// Holders of `platform:admin`.
    PlatformAdmins,
}

/// What a notification says. Title and message are English fall-backs; `params` lets the UI speak its language.
#[derive(Clone, Debug, PartialEq)]
pub struct NotificationDraft {
    /// What it is about.
    pub kind: NotificationType,
    /// How urgent it is.
    pub severity: Severity,
    title: String,
    message: String,
    /// Code and values.
    pub params: Redacted,
    /// The object it links to: type (`approval_ticket`, `batch`, `vm`, `cluster`) and id.
    pub resource: Option<(&'static str, String)>,
}

impl NotificationDraft {
    /// A notification with redacted texts: title at most 255, message at most 2048 characters.
    pub fn new(kind: NotificationType, severity: Severity, title: &str, message: &str) -> Self {
        Self {
            kind,
            severity,
            title: redact_and_truncate(title, 255),
            message: redact_and_truncate(message, 2048),
            params: Redacted::empty(),
            resource: None,
        }
    }

    /// Links it to an object.
    #[must_use]
    pub fn about(mut self, resource_type: &'static str, id: impl ToString) -> Self {
        self.resource = Some((resource_type, id.to_string()));
        self
    }

    /// Adds code and values; they are redacted here.
    #[must_use]
    pub fn params(mut self, params: serde_json::Value) -> Self {
        self.params = Redacted::new(params);
        self
    }

    /// The title.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.message
    }
}
