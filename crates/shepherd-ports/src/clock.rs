//! Time and ids come from here, so that tests can fix both.

use chrono::{DateTime, Utc};
use shepherd_domain::ids::{
    AdoptionId, AuditId, AuditWebhookId, BatchRequestId, CloneId, ClusterId, ConsoleGrantId, ConsoleSessionId,
    ConsoleTokenId, EventId, ExternalSystemId, FindingId, InstanceSizeId, LegalHoldId, LoginAttemptId, MembershipId,
    MigrationId, NamespaceId, PolicyId, ReconcilerRunId, RevisionId, RoleBindingId, RoleId, ServiceId, SessionId,
    SnapshotId, SubmissionId, SystemId, TemplateId, TicketId, UserId, VmId,
};

/// The wall clock.
pub trait Clock: Send + Sync {
    /// Now, in UTC.
    fn now(&self) -> DateTime<Utc>;
}

/// Makes ids: UUIDv7, so that they sort by time.
pub trait IdSource: Send + Sync {
    /// The bytes of the next id.
    fn next(&self) -> u128;
}

macro_rules! id_of {
    ($($id:ty),+ $(,)?) => {$(
        impl NewId for $id {
            fn from_bits(bits: u128) -> Self {
                Self::from_bits(bits)
            }
        }
    )+};
}

/// An id that an [`IdSource`] can make.
pub trait NewId {
    /// The id with these 128 bits.
    fn from_bits(bits: u128) -> Self;
}

id_of!(
    AdoptionId,
    AuditId,
    BatchRequestId,
    AuditWebhookId,
    CloneId,
    ClusterId,
    EventId,
    FindingId,
    InstanceSizeId,
    LegalHoldId,
    LoginAttemptId,
    MembershipId,
    MigrationId,
    NamespaceId,
    ReconcilerRunId,
    RevisionId,
    RoleBindingId,
    RoleId,
    ServiceId,
    SessionId,
    SnapshotId,
    PolicyId,
    ExternalSystemId,
    SubmissionId,
    ConsoleGrantId,
    ConsoleTokenId,
    ConsoleSessionId,
    SystemId,
    TemplateId,
    TicketId,
    UserId,
    VmId,
);

impl dyn IdSource + '_ {
    /// A new id of the wanted kind.
    pub fn id<T: NewId>(&self) -> T {
        T::from_bits(self.next())
    }
}
