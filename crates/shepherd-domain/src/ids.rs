//! Typed ids. A raw `Uuid` never crosses a function boundary; every id is a UUIDv7 made by an `IdSource`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! typed_ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// The id with this value.
            pub const fn from_uuid(value: Uuid) -> Self {
                Self(value)
            }

            /// The id with these bits, as an `IdSource` makes them.
            pub const fn from_bits(bits: u128) -> Self {
                Self(Uuid::from_u128(bits))
            }

            /// The value, for adapters.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(value: Uuid) -> Self {
                Self(value)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )+};
}

typed_ids! {
    /// A System.
    SystemId,
    /// A Service of a System.
    ServiceId,
    /// A virtual machine row.
    VmId,
    /// One version of a template.
    TemplateId,
    /// An instance size.
    InstanceSizeId,
    /// An entry of the namespace registry.
    NamespaceId,
    /// A registered cluster.
    ClusterId,
    /// A domain event; also the id of its task.
    EventId,
    /// An approval ticket.
    TicketId,
    /// What a client calls its submission of a batch, so that it can be repeated.
    BatchRequestId,
    /// A user.
    UserId,
    /// A session; the `sid` and `jti` of its token.
    SessionId,
    /// A role.
    RoleId,
    /// An external identity provider.
    AuthProviderId,
    /// A role binding.
    RoleBindingId,
    /// A resource role binding (membership).
    MembershipId,
    /// A notification of one user.
    NotificationId,
    /// An audit row.
    AuditId,
    /// A legal hold on audit rows.
    LegalHoldId,
    /// A webhook that audit rows are pushed to.
    AuditWebhookId,
    /// A revision row of a virtual machine.
    RevisionId,
    /// A snapshot of a virtual machine.
    SnapshotId,
    /// An approval policy.
    PolicyId,
    /// An external approval system.
    ExternalSystemId,
    /// A ticket that was handed to an external approval system.
    SubmissionId,
    /// A right to open the console of a machine, for a while.
    ConsoleGrantId,
    /// A one-time token for a console; its `jti`.
    ConsoleTokenId,
    /// A console that somebody opened.
    ConsoleSessionId,
    /// A clone of a virtual machine.
    CloneId,
    /// A live migration of a virtual machine.
    MigrationId,
    /// A machine on a cluster that may be adopted.
    AdoptionId,
    /// A run of the reconciler.
    ReconcilerRunId,
    /// A finding of a run of the reconciler.
    FindingId,
    /// An attempt to prove a password, as one subject of throttling sees it.
    LoginAttemptId,
}
