//! Audit rows: canonical actions, their governance class, how long they stay, and what readers ask for.

mod filter;

use chrono::{DateTime, Days, Utc};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

use crate::environment::Environment;
use crate::ids::TicketId;
use crate::redaction::Redacted;

pub use filter::{ActionPattern, HoldFilter, InvalidActionPattern, MAX_EXPORT_DAYS, check_export_range};

macro_rules! actions {
    ($($variant:ident = $name:literal => $code:ident),+ $(,)?) => {
        /// The canonical dotted name of something worth recording.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, EnumString, IntoStaticStr, Display)]
        #[expect(missing_docs, reason = "the names are the specification's and say it all")]
        pub enum AuditAction {
            $(#[strum(serialize = $name)] $variant),+
        }

        impl AuditAction {
            /// The governance class.
            pub fn code(self) -> ActionCode {
                match self {
                    $(Self::$variant => ActionCode::$code),+
                }
            }
        }
    };
}

actions! {
    UserLogin = "user.login" => Authentication,
    UserLoginFailed = "user.login_failed" => Authentication,
    UserLogout = "user.logout" => Authentication,
    UserPasswordChange = "user.password_change" => Authentication,
    UserCreate = "user.create" => ResourceCreated,
    UserUpdate = "user.update" => ResourceUpdated,
    UserDelete = "user.delete" => ResourceDeleted,
    AuthTokenRevoke = "auth.token_revoke" => Authentication,
    AuthRevokeAll = "auth.revoke_all" => Authentication,
    RoleCreate = "role.create" => ResourceCreated,
    RoleUpdate = "role.update" => ResourceUpdated,
    RoleDelete = "role.delete" => ResourceDeleted,
    RoleAssign = "role.assign" => AccessGranted,
    RoleRevoke = "role.revoke" => AccessRevoked,
    BootstrapBreakGlass = "bootstrap.break_glass" => Security,
    BootstrapExpire = "bootstrap.expire" => Security,
    SystemCreate = "system.create" => ResourceCreated,
    SystemUpdate = "system.update" => ResourceUpdated,
    SystemDeleteSubmitted = "system.delete_submitted" => RequestSubmitted,
    SystemDeleteExecuted = "system.delete_executed" => ResourceDeleted,
    SystemMemberAdd = "system.member_add" => AccessGranted,
    SystemMemberUpdate = "system.member_update" => AccessGranted,
    SystemMemberRemove = "system.member_remove" => AccessRevoked,
    ServiceCreate = "service.create" => ResourceCreated,
    ServiceUpdate = "service.update" => ResourceUpdated,
    ServiceDeleteSubmitted = "service.delete_submitted" => RequestSubmitted,
    ServiceDeleteExecuted = "service.delete_executed" => ResourceDeleted,
    VmRequest = "vm.request" => RequestSubmitted,
    VmExecutionStarted = "vm.execution_started" => ExecutionStarted,
    VmCreate = "vm.create" => ExecutionCompleted,
    VmCreateFailed = "vm.create_failed" => ExecutionFailed,
    VmDeleteSubmitted = "vm.delete_submitted" => RequestSubmitted,
    VmDeleteApproved = "vm.delete_approved" => ApprovalApproved,
    VmDeleteExecuted = "vm.delete_executed" => ExecutionCompleted,
    VmDeleteFailed = "vm.delete_failed" => ExecutionFailed,
    VmStartSubmitted = "vm.start_submitted" => RequestSubmitted,
    VmStart = "vm.start" => ExecutionCompleted,
    VmStartFailed = "vm.start_failed" => ExecutionFailed,
    VmStopSubmitted = "vm.stop_submitted" => RequestSubmitted,
    VmStop = "vm.stop" => ExecutionCompleted,
    VmStopFailed = "vm.stop_failed" => ExecutionFailed,
    VmRestartSubmitted = "vm.restart_submitted" => RequestSubmitted,
    VmRestart = "vm.restart" => ExecutionCompleted,
    VmRestartFailed = "vm.restart_failed" => ExecutionFailed,
    VmSnapshotSubmitted = "vm.snapshot_submitted" => RequestSubmitted,
    VmSnapshot = "vm.snapshot" => ExecutionCompleted,
    VmSnapshotFailed = "vm.snapshot_failed" => ExecutionFailed,
    VmSnapshotDeleteSubmitted = "vm.snapshot_delete_submitted" => RequestSubmitted,
    VmSnapshotDelete = "vm.snapshot_delete" => ExecutionCompleted,
    VmSnapshotDeleteFailed = "vm.snapshot_delete_failed" => ExecutionFailed,
    VmRestoreSubmitted = "vm.restore_submitted" => RequestSubmitted,
    VmRestore = "vm.restore" => ExecutionCompleted,
    VmRestoreFailed = "vm.restore_failed" => ExecutionFailed,
    VmCloneSubmitted = "vm.clone_submitted" => RequestSubmitted,
    VmClone = "vm.clone" => ExecutionCompleted,
    VmCloneFailed = "vm.clone_failed" => ExecutionFailed,
    VmMigrateSubmitted = "vm.migrate_submitted" => RequestSubmitted,
    VmMigrate = "vm.migrate" => ExecutionCompleted,
    VmMigrateFailed = "vm.migrate_failed" => ExecutionFailed,
    VmMigrateCancelSubmitted = "vm.migrate_cancel_submitted" => RequestSubmitted,
    VmMigrateCancel = "vm.migrate_cancel" => ExecutionCompleted,
    VmMigrateCancelFailed = "vm.migrate_cancel_failed" => ExecutionFailed,
    VmModifySubmitted = "vm.modify_submitted" => RequestSubmitted,
    VmModify = "vm.modify" => ExecutionCompleted,
    VmModifyFailed = "vm.modify_failed" => ExecutionFailed,
    VmInitialPasswordReveal = "vm.initial_password_reveal" => AccessUsed,
    VmAdopt = "vm.adopt" => ResourceCreated,
    AdoptionScan = "adoption.scan" => ResourceUpdated,
    AdoptionIgnore = "adoption.ignore" => ResourceUpdated,
    ReconcilerRun = "reconciler.run" => ResourceUpdated,
    ReconcilerHalt = "reconciler.halt" => Security,
    EncryptionKeyRotate = "encryption_key.rotate" => Security,
    ConfigUpdate = "config.update" => Security,
    ApprovalApprove = "approval.approve" => ApprovalApproved,
    ApprovalReject = "approval.reject" => ApprovalRejected,
    ApprovalCancel = "approval.cancel" => RequestCancelled,
    ApprovalModify = "approval.modify" => ApprovalModified,
    ApprovalPolicyCreate = "approval_policy.create" => ResourceCreated,
    ApprovalPolicyUpdate = "approval_policy.update" => ResourceUpdated,
    ApprovalPolicyDelete = "approval_policy.delete" => ResourceDeleted,
    ExternalApprovalConfigure = "external_approval.configure" => ResourceCreated,
    ExternalApprovalUpdate = "external_approval.update" => ResourceUpdated,
    ExternalApprovalDelete = "external_approval.delete" => ResourceDeleted,
    ExternalApprovalSubmit = "external_approval.submit" => DataExported,
    ExternalApprovalCallback = "external_approval.callback" => Security,
    ExternalApprovalFallback = "external_approval.fallback" => ResourceUpdated,
    VmBatchSubmit = "vm.batch.submit" => RequestSubmitted,
    VmBatchPowerSubmit = "vm.batch.power.submit" => RequestSubmitted,
    VmBatchRetry = "vm.batch.retry" => ResourceUpdated,
    VmBatchCancel = "vm.batch.cancel" => RequestCancelled,
    VncRequestSubmitted = "vnc.request_submitted" => RequestSubmitted,
    VncAccess = "vnc.access" => AccessGranted,
    VncSessionStarted = "vnc.session_started" => AccessUsed,
    VncSessionEnded = "vnc.session_ended" => AccessUsed,
    VncAccessDenied = "vnc.access_denied" => AccessDenied,
    VncRevoke = "vnc.revoke" => AccessRevoked,
    RateLimitExemptionUpsert = "admin.rate_limit.exemption.upsert" => ResourceUpdated,
    RateLimitExemptionDelete = "admin.rate_limit.exemption.delete" => ResourceDeleted,
    RateLimitOverrideUpsert = "admin.rate_limit.override.upsert" => ResourceUpdated,
    JobRetry = "job.retry" => ResourceUpdated,
    JobDiscard = "job.discard" => ResourceDeleted,
    ClusterRegister = "cluster.register" => ResourceCreated,
    ClusterUpdate = "cluster.update" => ResourceUpdated,
    ClusterDelete = "cluster.delete" => ResourceDeleted,
    ClusterCredentialRotate = "cluster.credential_rotate" => ResourceUpdated,
    NamespaceCreate = "namespace.create" => ResourceCreated,
    NamespaceUpdate = "namespace.update" => ResourceUpdated,
    NamespaceDelete = "namespace.delete" => ResourceDeleted,
    TemplateCreate = "template.create" => ResourceCreated,
    TemplateImport = "template.import" => ResourceCreated,
    TemplateUpdate = "template.update" => ResourceUpdated,
    TemplateDeprecate = "template.deprecate" => ResourceUpdated,
    TemplateArchive = "template.archive" => ResourceUpdated,
    TemplateDelete = "template.delete" => ResourceDeleted,
    InstanceSizeCreate = "instance_size.create" => ResourceCreated,
    InstanceSizeUpdate = "instance_size.update" => ResourceUpdated,
    InstanceSizeDeprecate = "instance_size.deprecate" => ResourceUpdated,
    InstanceSizeDelete = "instance_size.delete" => ResourceDeleted,
    AuditExport = "audit.export" => DataExported,
    AuditPurge = "audit.purge" => Security,
    AuditWebhookCreate = "audit.webhook.create" => ResourceCreated,
    AuditWebhookUpdate = "audit.webhook.update" => ResourceUpdated,
    AuditWebhookDelete = "audit.webhook.delete" => ResourceDeleted,
    AuditWebhookTest = "audit.webhook.test" => DataExported,
    AuditLegalHoldCreate = "audit.legal_hold.create" => ResourceCreated,
    AuditLegalHoldRelease = "audit.legal_hold.release" => ResourceUpdated,
}

impl AuditAction {
    /// The canonical name.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Governance class of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the names are the specification's and say it all")]
pub enum ActionCode {
    RequestSubmitted,
    RequestCancelled,
    ApprovalApproved,
    ApprovalRejected,
    ApprovalModified,
    ExecutionStarted,
    ExecutionCompleted,
    ExecutionFailed,
    ResourceCreated,
    ResourceUpdated,
    ResourceDeleted,
    AccessGranted,
    AccessRevoked,
    AccessUsed,
    AccessDenied,
    Authentication,
    Security,
    DataExported,
}

impl ActionCode {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Whether the recorded action succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Outcome {
    /// It did.
    Success,
    /// It did not.
    Failure,
}

/// How long a row stays at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum RetentionClass {
    /// Deletions, decisions, roles, security: 3 years.
    Sensitive,
    /// Prod, or no environment: 1 year.
    Prod,
    /// Test: 90 days.
    Test,
}

impl RetentionClass {
    /// The class of an action in an environment.
    pub fn of(action: AuditAction, environment: Option<Environment>) -> Self {
        let name = action.as_str();
        let sensitive = name.contains(".delete")
            || name.starts_with("approval.")
            || name.starts_with("role.")
            || action.code() == ActionCode::Security;
        match environment {
            _ if sensitive => Self::Sensitive,
            Some(Environment::Test) => Self::Test,
            Some(Environment::Prod) | None => Self::Prod,
        }
    }

    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Days each class is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionDays {
    /// `audit.retention_sensitive_days`.
    pub sensitive: u32,
    /// `audit.retention_prod_days`.
    pub prod: u32,
    /// `audit.retention_test_days`.
    pub test: u32,
}

impl Default for RetentionDays {
    fn default() -> Self {
        Self {
            sensitive: 1095,
            prod: 365,
            test: 90,
        }
    }
}

impl RetentionDays {
    /// When a row of this class may leave at the earliest.
    pub fn retain_until(self, class: RetentionClass, from: DateTime<Utc>) -> DateTime<Utc> {
        let days = match class {
            RetentionClass::Sensitive => self.sensitive,
            RetentionClass::Prod => self.prod,
            RetentionClass::Test => self.test,
        };
        from.checked_add_days(Days::new(u64::from(days)))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

/// What an audit row says, apart from who, when and where from.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// What happened.
    pub action: AuditAction,
    /// Kind of the object.
    pub resource_type: &'static str,
    /// Id of the object.
    pub resource_id: String,
    /// Name of the object at that time.
    pub resource_name: Option<String>,
    /// The object it belongs to.
    pub parent: Option<(&'static str, String)>,
    /// The ticket that caused it.
    pub ticket_id: Option<TicketId>,
    /// The environment of the object.
    pub environment: Option<Environment>,
    /// Details, redacted.
    pub details: Redacted,
    /// Whether it succeeded.
    pub outcome: Outcome,
}

impl AuditEntry {
    /// A success about this object, without details.
    pub fn new(action: AuditAction, resource_type: &'static str, resource_id: impl ToString) -> Self {
        Self {
            action,
            resource_type,
            resource_id: resource_id.to_string(),
            resource_name: None,
            parent: None,
            ticket_id: None,
            environment: None,
            details: Redacted::empty(),
            outcome: Outcome::Success,
        }
    }

    /// Names the object.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.resource_name = Some(name.into());
        self
    }

    /// Names the ticket that caused it.
    #[must_use]
    pub fn ticket(mut self, ticket: TicketId) -> Self {
        self.ticket_id = Some(ticket);
        self
    }

    /// Names the environment.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Names the object it belongs to.
    #[must_use]
    pub fn parent(mut self, kind: &'static str, id: impl ToString) -> Self {
        self.parent = Some((kind, id.to_string()));
        self
    }

    /// Adds details; they are redacted here.
    #[must_use]
    pub fn details(mut self, details: serde_json::Value) -> Self {
        self.details = Redacted::new(details);
        self
    }

    /// Marks it as failed.
    #[must_use]
    pub fn failed(mut self) -> Self {
        self.outcome = Outcome::Failure;
        self
    }
}
