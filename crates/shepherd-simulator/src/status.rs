//! Refusals in the words of the API server: a code, a reason and a `Status` document.
//!
//! Messages follow apimachinery's `errors` package, because clients match on them.

use serde_json::{Value, json};

use crate::access::Attempt;
use crate::resources::ResourceDef;

/// One entry of `details.causes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    /// For example `FieldValueRequired`.
    pub reason: &'static str,
    /// What is wrong, without the field.
    pub message: String,
    /// Path of the field.
    pub field: String,
}

impl Cause {
    /// A field that has to be there.
    pub fn required(field: impl Into<String>) -> Self {
        Self {
            reason: "FieldValueRequired",
            message: "Required value".to_owned(),
            field: field.into(),
        }
    }

    /// A field whose value cannot be accepted.
    pub fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Self {
        Self {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {value}: {why}"),
            field: field.into(),
        }
    }

    fn to_json(&self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }
}

/// A refused request.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    /// HTTP status.
    pub code: u16,
    /// Kubernetes reason, for example `NotFound`.
    pub reason: String,
    /// What a person reads.
    pub message: String,
    /// `details` of the Status document.
    pub details: Option<Value>,
    /// Seconds for the `Retry-After` header.
    pub retry_after: Option<u64>,
}

impl ApiError {
    /// A refusal without details.
    pub fn new(code: u16, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: message.into(),
            details: None,
            retry_after: None,
        }
    }

    fn about(mut self, def: &ResourceDef, name: &str) -> Self {
        self.details = Some(json!({"name": name, "group": def.group, "kind": def.plural}));
        self
    }

    fn caused_by(mut self, causes: &[Cause]) -> Self {
        if !causes.is_empty() {
            let causes: Vec<Value> = causes.iter().map(Cause::to_json).collect();
            let mut details = self.details.take().unwrap_or_else(|| json!({}));
            details["causes"] = Value::Array(causes);
            self.details = Some(details);
        }
        self
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403 of the authoriser.
    pub fn forbidden(attempt: &Attempt<'_>, name: &str) -> Self {
        let resource = attempt.path();
        let qualified = if attempt.group.is_empty() {
            attempt.resource.to_owned()
        } else {
            format!("{}.{}", attempt.resource, attempt.group)
        };
        let subject = if name.is_empty() {
            qualified
        } else {
            format!("{qualified} {name:?}")
        };
        let scope = if attempt.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {:?}", attempt.namespace)
        };
        let mut error = Self::new(
            403,
            "Forbidden",
            format!(
                "{subject} is forbidden: User {:?} cannot {} resource {resource:?} in API group {:?} {scope}",
                attempt.user, attempt.verb, attempt.group
            ),
        );
        let mut details = json!({"group": attempt.group, "kind": attempt.resource});
        if !name.is_empty() {
            details["name"] = Value::from(name);
        }
        error.details = Some(details);
        error
    }

    /// 403 of an admission plugin.
    pub fn denied(def: &ResourceDef, name: &str, why: &str, causes: &[Cause]) -> Self {
        Self::new(
            403,
            "Forbidden",
            format!("{} {name:?} is forbidden: {why}", def.qualified()),
        )
        .about(def, name)
        .caused_by(causes)
    }

    /// 422 of an admission webhook.
    pub fn webhook(def: &ResourceDef, name: &str, webhook: &str, causes: &[Cause]) -> Self {
        let why: Vec<&str> = causes.iter().map(|cause| cause.message.as_str()).collect();
        Self::new(
            422,
            "Invalid",
            format!("admission webhook {webhook:?} denied the request: {}", why.join(", ")),
        )
        .about(def, name)
        .caused_by(causes)
    }

    /// 400 of an admission webhook that gives no reason but a sentence.
    pub fn turned_away(webhook: &str, why: &str) -> Self {
        Self::new(
            400,
            "",
            format!("admission webhook {webhook:?} denied the request: {why}"),
        )
    }

    /// 404 for an object.
    pub fn not_found(def: &ResourceDef, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} {name:?} not found", def.qualified())).about(def, name)
    }

    /// 404 for a path.
    pub fn no_such_path() -> Self {
        let mut error = Self::new(404, "NotFound", "the server could not find the requested resource");
        error.details = Some(json!({}));
        error
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// 409 for a name that is taken.
    pub fn already_exists(def: &ResourceDef, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{} {name:?} already exists", def.qualified()),
        )
        .about(def, name)
    }

    /// 409 for a write that came too late.
    pub fn conflict(def: &ResourceDef, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", def.qualified());
        Self::new(409, "Conflict", message).about(def, name)
    }

    /// 409 for an outdated `resourceVersion`.
    pub fn modified(def: &ResourceDef, name: &str) -> Self {
        Self::conflict(
            def,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409 of server-side apply.
    pub fn apply_conflict(message: String, causes: &[Cause]) -> Self {
        Self::new(409, "Conflict", message).caused_by(causes)
    }

    /// 410 for a `resourceVersion` or continue token that is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 415.
    pub fn unsupported_media_type(accepted: &str) -> Self {
        Self::new(
            415,
            "UnsupportedMediaType",
            format!("the body of the request was in an unknown format - accepted media types include: {accepted}"),
        )
    }

    /// 422 with its causes.
    pub fn invalid(def: &ResourceDef, name: &str, causes: &[Cause]) -> Self {
        let lines: Vec<String> = causes
            .iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect();
        let why = match lines.as_slice() {
            [only] => only.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let mut error = Self::new(
            422,
            "Invalid",
            format!("{} {name:?} is invalid: {why}", def.qualified_kind()),
        );
        error.details = Some(json!({"name": name, "group": def.group, "kind": def.kind}));
        error.caused_by(causes)
    }

    /// The `Status` document.
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = Value::from(self.reason.as_str());
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        if let Some(seconds) = self.retry_after {
            status["details"]["retryAfterSeconds"] = Value::from(seconds);
        }
        status
    }
}

/// The `Status` document of a deletion that is complete.
pub(crate) fn deleted(def: &ResourceDef, name: &str, uid: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {"name": name, "group": def.group, "kind": def.plural, "uid": uid},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::VIRTUAL_MACHINES;

    #[test]
    fn not_found_reads_like_the_real_one() {
        let status = ApiError::not_found(&VIRTUAL_MACHINES, "web").to_status();
        assert_eq!(status["message"], "virtualmachines.kubevirt.io \"web\" not found");
        assert_eq!(status["reason"], "NotFound");
        assert_eq!(status["code"], 404);
        assert_eq!(status["details"]["kind"], "virtualmachines");
    }

    #[test]
    fn several_causes_are_bracketed() {
        let causes = [Cause::required("spec.a"), Cause::required("spec.b")];
        let error = ApiError::invalid(&VIRTUAL_MACHINES, "web", &causes);
        assert!(
            error
                .message
                .ends_with("[spec.a: Required value, spec.b: Required value]")
        );
        assert_eq!(error.to_status()["details"]["causes"][1]["field"], "spec.b");
    }
}
