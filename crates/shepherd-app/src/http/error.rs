//! The one place where errors become answers.

use std::error::Error;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use serde_json::{Map, Value};
use shepherd_domain::limit::LimitType;
use shepherd_domain::problem::{ErrorCode, FieldError, Params, Problem};
use shepherd_ports::RepositoryError;
use shepherd_usecases::UseCaseError;
use utoipa::ToSchema;

/// An error on its way to the client.
#[derive(Debug)]
pub struct ApiError(Problem);

/// The body of every error.
#[derive(Serialize, ToSchema)]
#[schema(as = Error, example = json!({"code": "SYSTEM_NOT_FOUND", "params": {"id": "01983f0e-7c1e-7aa0-8000-2f6d2c1d9a10"}}))]
pub struct ErrorBody {
    /// Stable code.
    #[schema(value_type = String)]
    code: ErrorCode,
    /// Parameters of the code.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Option<Object>)]
    params: Params,
    /// What is wrong with single fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<FieldErrorBody>>)]
    field_errors: Vec<FieldError>,
}

/// What is wrong with one field.
#[derive(Serialize, ToSchema)]
#[schema(as = FieldError)]
pub struct FieldErrorBody {
    /// Path of the field.
    field: String,
    /// REQUIRED, INVALID_FORMAT, OUT_OF_RANGE, TOO_LONG, UNKNOWN_VALUE, NOT_FOUND or a rule of passwords; of an item of a
    /// batch the code that the same request about it alone is refused with.
    code: String,
    /// Limits and the like.
    #[schema(value_type = Option<Object>)]
    params: Option<Value>,
}

impl ApiError {
    /// The limit that stands in the way, when that is what it says.
    pub(super) fn limit(&self) -> Option<LimitType> {
        let Self(problem) = self;
        if problem.code != ErrorCode::RateLimitExceeded {
            return None;
        }
        problem.params.get("limit_type")?.as_str()?.parse().ok()
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<ApiError> for ErrorBody {
    fn from(ApiError(problem): ApiError) -> Self {
        let Problem {
            code,
            params,
            field_errors,
        } = problem;
        Self {
            code,
            params,
            field_errors,
        }
    }
}

impl From<UseCaseError> for ApiError {
    fn from(error: UseCaseError) -> Self {
        let source: &dyn Error = &error;
        match &error {
            UseCaseError::Problem(problem) => Self(problem.clone()),
            UseCaseError::Repository(RepositoryError::Busy(_) | RepositoryError::Unavailable(_)) => {
                tracing::warn!(error = source, "the store could not answer in time");
                Self(Problem::new(ErrorCode::ServiceBusy))
            }
            UseCaseError::Repository(_)
            | UseCaseError::Cipher(_)
            | UseCaseError::Password(_)
            | UseCaseError::Token(_)
            | UseCaseError::Stored { .. }
            | UseCaseError::Broken(_) => {
                tracing::error!(error = source, "a request failed unexpectedly");
                Self(internal())
            }
        }
    }
}

impl From<RepositoryError> for ApiError {
    fn from(error: RepositoryError) -> Self {
        UseCaseError::from(error).into()
    }
}

/// INTERNAL_ERROR with the id under which the log knows more.
fn internal() -> Problem {
    let problem = Problem::new(ErrorCode::InternalError);
    match super::marks::current_request_id() {
        Some(id) => problem.with("request_id", id),
        None => problem,
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        status(self.0.code)
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let mut response = HttpResponse::build(status);
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = self
                .0
                .params
                .get("retry_after")
                .and_then(Value::as_u64)
                .unwrap_or(DEFAULT_RETRY_AFTER);
            response.insert_header((RETRY_AFTER, HeaderValue::from(seconds)));
        }
        response.json(ErrorBody::from(Self(self.0.clone())))
    }
}

/// Seconds a client waits when the code does not say.
const DEFAULT_RETRY_AFTER: u64 = 5;

/// The status of a code (errors.md §2). A new code does not compile until it has one.
pub fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidRequest
        | ErrorCode::InvalidRequestField
        | ErrorCode::ValidationFailed
        | ErrorCode::ConfirmationRequired
        | ErrorCode::ConfirmationNameMismatch
        | ErrorCode::NameInvalid
        | ErrorCode::NameReserved
        | ErrorCode::NameTooLong
        | ErrorCode::VmNameTooLong
        | ErrorCode::NamespaceNotRegistered
        | ErrorCode::NamespaceDisabled
        | ErrorCode::NamespaceNameInvalid
        | ErrorCode::NamespaceClusterEnvMismatch
        | ErrorCode::InvalidCurrentPassword
        | ErrorCode::PasswordPolicyViolation
        | ErrorCode::NotLocalUser
        | ErrorCode::InvalidRole
        | ErrorCode::UnknownPermission
        | ErrorCode::InvalidKubeconfig
        | ErrorCode::OutboundBlocked
        | ErrorCode::TemplateSpecViolation
        | ErrorCode::TemplateValidationFailed
        | ErrorCode::InvalidSpecOverrides
        | ErrorCode::SpecOverrideConflict
        | ErrorCode::SchemaValidationFailed
        | ErrorCode::OvercommitInvalid
        | ErrorCode::DedicatedCpuOvercommitConflict
        | ErrorCode::DiskSizeOutOfRange
        | ErrorCode::DiskShrinkNotAllowed
        | ErrorCode::CapabilityMissing
        | ErrorCode::StorageClassNotFound
        | ErrorCode::ImmutableField
        | ErrorCode::ReconcilerModeNotImplemented
        | ErrorCode::ModifiedSpecNotSupported
        | ErrorCode::PolicyNotAllowed
        | ErrorCode::BatchSizeExceeded
        | ErrorCode::InvalidBatchRequest
        | ErrorCode::InvalidBatchItems
        | ErrorCode::RequiredFieldRemoved => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthorized
        | ErrorCode::InvalidCredentials
        | ErrorCode::InvalidVncToken
        | ErrorCode::WebhookSignatureInvalid
        | ErrorCode::WebhookStale => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden
        | ErrorCode::NamespaceEnvForbidden
        | ErrorCode::PasswordChangeRequired
        | ErrorCode::BuiltinRoleImmutable
        | ErrorCode::RoleNotAssignable
        | ErrorCode::GrantCeilingExceeded
        | ErrorCode::SelfApprovalForbidden
        | ErrorCode::ApproverNotEligible
        | ErrorCode::TicketCancelForbidden
        | ErrorCode::NamespacePermissionDenied
        | ErrorCode::NamespaceQuotaExceeded => StatusCode::FORBIDDEN,
        ErrorCode::SystemNotFound
        | ErrorCode::ServiceNotFound
        | ErrorCode::MemberNotFound
        | ErrorCode::VmNotFound
        | ErrorCode::RevisionNotFound
        | ErrorCode::InitialPasswordNotAvailable
        | ErrorCode::SchemaNotAvailable
        | ErrorCode::TicketNotFound
        | ErrorCode::BatchNotFound
        | ErrorCode::ConsoleGrantNotFound
        | ErrorCode::RateLimitExemptionNotFound
        | ErrorCode::PolicyNotFound
        | ErrorCode::ExternalSystemNotFound
        | ErrorCode::JobNotFound
        | ErrorCode::TaskNotFound
        | ErrorCode::EventNotFound
        | ErrorCode::ClusterNotFound
        | ErrorCode::NamespaceNotFound
        | ErrorCode::TemplateNotFound
        | ErrorCode::InstanceSizeNotFound
        | ErrorCode::UserNotFound
        | ErrorCode::SessionNotFound
        | ErrorCode::RoleNotFound
        | ErrorCode::RoleBindingNotFound
        | ErrorCode::NotificationNotFound
        | ErrorCode::AuditWebhookNotFound
        | ErrorCode::LegalHoldNotFound
        | ErrorCode::SnapshotNotFound
        | ErrorCode::CloneNotFound
        | ErrorCode::MigrationNotFound
        | ErrorCode::ReconcilerRunNotFound
        | ErrorCode::AdoptionNotFound
        | ErrorCode::RouteNotFound => StatusCode::NOT_FOUND,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        ErrorCode::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        ErrorCode::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::DuplicatePendingRequest
        | ErrorCode::DuplicatePendingVncRequest
        | ErrorCode::VmNotRunning
        | ErrorCode::VncTokenReplayed
        | ErrorCode::VncTokenVmMismatch
        | ErrorCode::InvalidStateTransition
        | ErrorCode::TicketNotPending
        | ErrorCode::TemplateNotActive
        | ErrorCode::InstanceSizeDisabled
        | ErrorCode::CapabilityNotSupported
        | ErrorCode::ClusterObjectConflict
        | ErrorCode::SystemNameExists
        | ErrorCode::ServiceNameExists
        | ErrorCode::ClusterNameExists
        | ErrorCode::NamespaceNameExists
        | ErrorCode::TemplateNameVersionExists
        | ErrorCode::InstanceSizeNameExists
        | ErrorCode::RoleNameExists
        | ErrorCode::AuditWebhookNameExists
        | ErrorCode::LegalHoldNameExists
        | ErrorCode::UserNameOrEmailExists
        | ErrorCode::MemberAlreadyExists
        | ErrorCode::RoleBindingExists
        | ErrorCode::SystemHasServices
        | ErrorCode::ServiceHasVms
        | ErrorCode::NamespaceInUse
        | ErrorCode::TemplateInUse
        | ErrorCode::InstanceSizeInUse
        | ErrorCode::RoleInUse
        | ErrorCode::LastOwnerCannotBeRemoved
        | ErrorCode::LastPlatformAdmin
        | ErrorCode::CannotDeleteSelf
        | ErrorCode::SnapshotNameExists
        | ErrorCode::PolicyNameExists
        | ErrorCode::ExternalSystemNameExists
        | ErrorCode::ExternalSystemInUse
        | ErrorCode::RetryLimitReached
        | ErrorCode::ClusterHasVms
        | ErrorCode::AdoptionNotPending
        | ErrorCode::AdoptionNotPossible
        | ErrorCode::ReconcilerAlreadyRunning
        | ErrorCode::KeyRotationRunning
        | ErrorCode::IdempotencyInProgress => StatusCode::CONFLICT,
        ErrorCode::DryRunRejected | ErrorCode::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::RateLimitExceeded => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::InternalError
        | ErrorCode::NamespaceCreationFailed
        | ErrorCode::VmCreationFailed
        | ErrorCode::VmModifyFailed
        | ErrorCode::VmDeletionFailed
        | ErrorCode::VmPowerFailed
        | ErrorCode::VmSnapshotFailed
        | ErrorCode::VmRestoreFailed
        | ErrorCode::VmCloneFailed
        | ErrorCode::VmMigrationFailed => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::NotReady
        | ErrorCode::ClusterUnhealthy
        | ErrorCode::ClusterUnreachable
        | ErrorCode::ClusterDegraded
        | ErrorCode::ClusterRebuilding
        | ErrorCode::ServiceBusy => StatusCode::SERVICE_UNAVAILABLE,
    }
}
