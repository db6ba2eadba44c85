//! Errors as a client sees them: a stable code and its parameters. English texts exist in logs only.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// A stable error code. One code has one HTTP status (the HTTP layer's table), and codes never change meaning.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the names are the specification's and say it all")]
pub enum ErrorCode {
    InvalidRequest,
    InvalidRequestField,
    ValidationFailed,
    ConfirmationRequired,
    ConfirmationNameMismatch,
    NameInvalid,
    NameReserved,
    NameTooLong,
    VmNameTooLong,
    NamespaceNotRegistered,
    NamespaceDisabled,
    NamespaceNameInvalid,
    NamespaceClusterEnvMismatch,
    InvalidCurrentPassword,
    PasswordPolicyViolation,
    NotLocalUser,
    InvalidRole,
    UnknownPermission,
    InvalidKubeconfig,
    OutboundBlocked,
    TemplateSpecViolation,
    TemplateValidationFailed,
    InvalidSpecOverrides,
    SpecOverrideConflict,
    SchemaValidationFailed,
    OvercommitInvalid,
    DedicatedCpuOvercommitConflict,
    DiskSizeOutOfRange,
    DiskShrinkNotAllowed,
    CapabilityMissing,
    StorageClassNotFound,
    ImmutableField,
    RequiredFieldRemoved,
    ReconcilerModeNotImplemented,
    ModifiedSpecNotSupported,
    PolicyNotAllowed,
    BatchSizeExceeded,
    InvalidBatchRequest,
    InvalidBatchItems,
    Unauthorized,
    WebhookSignatureInvalid,
    WebhookStale,
    InvalidCredentials,
    InvalidVncToken,
    Forbidden,
    NamespaceEnvForbidden,
    PasswordChangeRequired,
    BuiltinRoleImmutable,
    RoleNotAssignable,
    GrantCeilingExceeded,
    SelfApprovalForbidden,
    ApproverNotEligible,
    TicketCancelForbidden,
    NamespacePermissionDenied,
    NamespaceQuotaExceeded,
    SystemNotFound,
    ServiceNotFound,
    MemberNotFound,
    VmNotFound,
    RevisionNotFound,
    InitialPasswordNotAvailable,
    SchemaNotAvailable,
    TicketNotFound,
    BatchNotFound,
    ConsoleGrantNotFound,
    RateLimitExemptionNotFound,
    PolicyNotFound,
    ExternalSystemNotFound,
    JobNotFound,
    TaskNotFound,
    EventNotFound,
    SnapshotNotFound,
    CloneNotFound,
    MigrationNotFound,
    ReconcilerRunNotFound,
    AdoptionNotFound,
    ClusterNotFound,
    NamespaceNotFound,
    TemplateNotFound,
    InstanceSizeNotFound,
    UserNotFound,
    SessionNotFound,
    RoleNotFound,
    RoleBindingNotFound,
    NotificationNotFound,
    AuditWebhookNotFound,
    LegalHoldNotFound,
    RouteNotFound,
    MethodNotAllowed,
    NotAcceptable,
    PreconditionFailed,
    PayloadTooLarge,
    UnsupportedMediaType,
    DuplicatePendingRequest,
    DuplicatePendingVncRequest,
    VmNotRunning,
    VncTokenReplayed,
    VncTokenVmMismatch,
    InvalidStateTransition,
    TicketNotPending,
    TemplateNotActive,
    InstanceSizeDisabled,
    CapabilityNotSupported,
    ClusterObjectConflict,
    SystemNameExists,
    ServiceNameExists,
    ClusterNameExists,
    NamespaceNameExists,
    TemplateNameVersionExists,
    InstanceSizeNameExists,
    RoleNameExists,
    AuditWebhookNameExists,
    LegalHoldNameExists,
    SnapshotNameExists,
    PolicyNameExists,
    ExternalSystemNameExists,
    ExternalSystemInUse,
    RetryLimitReached,
    UserNameOrEmailExists,
    MemberAlreadyExists,
    RoleBindingExists,
    SystemHasServices,
    ServiceHasVms,
    NamespaceInUse,
    TemplateInUse,
    InstanceSizeInUse,
    ClusterHasVms,
    RoleInUse,
    LastOwnerCannotBeRemoved,
    LastPlatformAdmin,
    CannotDeleteSelf,
    AdoptionNotPending,
    AdoptionNotPossible,
    ReconcilerAlreadyRunning,
    KeyRotationRunning,
    IdempotencyInProgress,
    DryRunRejected,
    IdempotencyKeyReused,
    RateLimitExceeded,
    InternalError,
    NamespaceCreationFailed,
    VmCreationFailed,
    VmModifyFailed,
    VmDeletionFailed,
    VmPowerFailed,
    VmSnapshotFailed,
    VmRestoreFailed,
    VmCloneFailed,
    VmMigrationFailed,
    NotReady,
    ClusterUnhealthy,
    ClusterUnreachable,
    ClusterDegraded,
    ClusterRebuilding,
    ServiceBusy,
}

impl ErrorCode {
    /// The code on the wire.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Parameters of a code. They never hold secrets, stack traces, SQL or internal addresses.
pub type Params = Map<String, Value>;

/// What is wrong with one field of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the names are the specification's and say it all")]
pub enum FieldCode {
    Required,
    InvalidFormat,
    OutOfRange,
    TooLong,
    UnknownValue,
    NotFound,
    TooShort,
    TooCommon,
    ContainsUsername,
    Reused,
    MissingClass,
    /// One item of a batch: the code that the same request about this item alone would be refused with.
    #[serde(untagged)]
    #[strum(transparent)]
    Item(ErrorCode),
}

/// One entry of `field_errors`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldError {
    /// Path of the field in the request body.
    pub field: String,
    /// What is wrong.
    pub code: FieldCode,
    /// Limits and the like.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Params,
}

impl FieldError {
    /// An entry without parameters.
    pub fn new(field: impl Into<String>, code: FieldCode) -> Self {
        Self {
            field: field.into(),
            code,
            params: Params::new(),
        }
    }

    /// What is wrong with one item of a batch: the refusal that it would meet alone.
    pub fn of_item(field: impl Into<String>, refusal: Problem) -> Self {
        Self {
            field: field.into(),
            code: FieldCode::Item(refusal.code),
            params: refusal.params,
        }
    }

    /// Adds a parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.params.insert(name.to_owned(), value.into());
        self
    }
}

/// An error with everything that a client may see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// The stable code.
    pub code: ErrorCode,
    /// Parameters of the code.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Params,
    /// All field errors at once, for the codes that carry them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub field_errors: Vec<FieldError>,
}

impl Problem {
    /// A problem without parameters.
    pub fn new(code: ErrorCode) -> Self {
        Self {
            code,
            params: Params::new(),
            field_errors: Vec::new(),
        }
    }

    /// A missing object, or one the caller may not see: the two answers are the same.
    pub fn not_found(code: ErrorCode, id: impl fmt::Display) -> Self {
        Self::new(code).with("id", id.to_string())
    }

    /// VALIDATION_FAILED with these fields.
    pub fn invalid(field_errors: Vec<FieldError>) -> Self {
        Self {
            code: ErrorCode::ValidationFailed,
            params: Params::new(),
            field_errors,
        }
    }

    /// VALIDATION_FAILED with one field.
    pub fn invalid_field(field: &str, code: FieldCode) -> Self {
        Self::invalid(vec![FieldError::new(field, code)])
    }

    /// INVALID_BATCH_ITEMS with what is wrong with which item.
    pub fn invalid_items(field_errors: Vec<FieldError>) -> Self {
        Self {
            code: ErrorCode::InvalidBatchItems,
            params: Params::new(),
            field_errors,
        }
    }

    /// INVALID_REQUEST_FIELD: a key that the request may not carry.
    pub fn unknown_field(field: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequestField).with("field", field.into())
    }

    /// Adds a parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.params.insert(name.to_owned(), value.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if !self.params.is_empty() {
            write!(f, " {}", Value::Object(self.params.clone()))?;
        }
        for error in &self.field_errors {
            write!(f, " {}={}", error.field, error.code)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// A finding that does not stop a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// What was found.
    pub code: WarningCode,
    /// Parameters of the code.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Params,
}

impl Warning {
    /// A warning without parameters.
    pub fn new(code: WarningCode) -> Self {
        Self {
            code,
            params: Params::new(),
        }
    }

    /// Adds a parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.params.insert(name.to_owned(), value.into());
        self
    }
}

/// Codes of warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, IntoStaticStr)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the names are the specification's and say it all")]
pub enum WarningCode {
    NameLengthWarning,
    PreviewUnavailable,
    DryRunSlow,
    TemplateDeprecated,
    InstanceSizeDisabledSinceRequest,
    NoDefaultStorageClass,
    StorageClassesStale,
    ProdOvercommit,
    NamespaceWillBeCreated,
    SpecFieldsRemoved,
    SchemaFallback,
    SystemWithoutEnabledOwner,
}
