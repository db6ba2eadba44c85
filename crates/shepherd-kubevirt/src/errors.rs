//! What went wrong on the way to a cluster, in the words of the port.
//!
//! Answers of the server are told apart by code and reason; everything that is no answer is UNREACHABLE. Texts are
//! the server's own, redacted and cut, because they end in tickets and logs.

use std::error::Error as StdError;
use std::time::Duration;

use kube::core::Status;
use shepherd_domain::redaction::redact_and_truncate;
use shepherd_ports::providers::ProviderError;

mod transport;

/// Longest text that is kept of anything a server says.
pub(crate) const MAX_TEXT: usize = 512;
/// Most causes that are kept of a refusal.
const MAX_CAUSES: usize = 20;
/// The reason kube puts on an error whose body is no `Status`.
pub(crate) const NOT_A_STATUS: &str = "Failed to parse error data";
/// What an API server answers, as plain text, below a group or version that it does not serve.
const KIND_NOT_SERVED: &str = "404 page not found";

/// The port's error for a failed call.
pub(crate) fn provider_error(error: &kube::Error) -> ProviderError {
    if let kube::Error::Api(status) = error {
        return of_status(status);
    }
    if let kube::Error::SerdeError(serde) = error {
        // A document that ends too early was cut on its way; any other is not what this API answers.
        return if serde.is_eof() {
            ProviderError::Unreachable("the answer was cut off".to_owned())
        } else {
            ProviderError::Schema(chain(error))
        };
    }
    ProviderError::Unreachable(transport::cause(error).map_or_else(|| chain(error), str::to_owned))
}

/// Whether the API server itself says that the object (or its namespace) is not there.
///
/// A 404 of anything in between, or below a kind that is not served, is not proof of absence: rows would be taken
/// for ghosts.
pub(crate) fn is_absent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 && status.reason == "NotFound")
}

/// Whether a list or watch has to start over, because the version it goes on from is gone. This is routine and no
/// failure.
pub(crate) fn is_expired(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}

/// An answer that lacks `what`.
pub(crate) fn lacks(what: &str) -> ProviderError {
    ProviderError::Schema(format!("{what} is missing or malformed"))
}

fn of_status(status: &Status) -> ProviderError {
    let message = clean(&status.message);
    if status.reason == NOT_A_STATUS
        && status.code != 429
        && !(status.code == 404 && status.message.trim() == KIND_NOT_SERVED)
    {
        return ProviderError::Unreachable(format!("HTTP {}: {message}", status.code));
    }
    match status.code {
        401 | 403 if status.message.contains("exceeded quota") => ProviderError::Quota(message),
        401 | 403 => ProviderError::Forbidden(message),
        404 => ProviderError::NotFound(message),
        408 | 504 => ProviderError::Timeout(message),
        409 if status.reason == "AlreadyExists" => ProviderError::AlreadyExists(message),
        409 => ProviderError::Conflict(message),
        // The list or version that was asked to go on is gone; the server is not.
        410 => ProviderError::Conflict(message),
        429 => ProviderError::Throttled {
            retry_after: retry_after(status),
        },
        400..=499 => ProviderError::Invalid {
            message,
            reason: clean(&status.reason),
            causes: causes(status),
        },
        code => ProviderError::Unreachable(format!("HTTP {code}: {message}")),
    }
}

fn retry_after(status: &Status) -> Option<Duration> {
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
}

fn causes(status: &Status) -> Vec<(String, String)> {
    let causes = status
        .details
        .as_ref()
        .map(|details| details.causes.as_slice())
        .unwrap_or_default();
    causes
        .iter()
        .take(MAX_CAUSES)
        .map(|cause| (clean(&cause.field), clean(&cause.message)))
        .collect()
}

/// The error and everything below it; "client error" alone would not say why.
fn chain(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut source = StdError::source(error);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    clean(&text)
}

fn clean(text: &str) -> String {
    redact_and_truncate(text, MAX_TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(body: serde_json::Value) -> ProviderError {
        let status: Status = serde_json::from_value(body).unwrap();
        provider_error(&kube::Error::Api(Box::new(status)))
    }

    fn coded(code: u16, reason: &str) -> ProviderError {
        answer(json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "why"}))
    }

    #[test]
    fn codes_and_reasons_decide() {
        let why = || "why".to_owned();
        assert_eq!(coded(404, "NotFound"), ProviderError::NotFound(why()));
        assert_eq!(coded(409, "AlreadyExists"), ProviderError::AlreadyExists(why()));
        assert_eq!(coded(409, "Conflict"), ProviderError::Conflict(why()));
        assert_eq!(coded(401, "Unauthorized"), ProviderError::Forbidden(why()));
        assert_eq!(coded(403, "Forbidden"), ProviderError::Forbidden(why()));
        assert_eq!(coded(408, "Timeout"), ProviderError::Timeout(why()));
        assert_eq!(coded(504, "Timeout"), ProviderError::Timeout(why()));
        assert_eq!(
            coded(429, "TooManyRequests"),
            ProviderError::Throttled { retry_after: None }
        );
        for code in [400, 405, 406, 413, 415, 422] {
            assert_eq!(
                coded(code, "Invalid"),
                ProviderError::Invalid {
                    message: why(),
                    reason: "Invalid".to_owned(),
                    causes: vec![]
                }
            );
        }
        assert_eq!(coded(410, "Expired"), ProviderError::Conflict(why()));
        for code in [0, 500, 502, 503] {
            assert!(
                matches!(coded(code, "InternalError"), ProviderError::Unreachable(_)),
                "{code}"
            );
        }
    }

    #[test]
    fn a_used_up_quota_is_not_a_missing_permission() {
        let error = answer(
            json!({"code": 403, "reason": "Forbidden", "message": "pods \"a\" is forbidden: exceeded quota: small"}),
        );
        assert!(matches!(error, ProviderError::Quota(_)));
    }

    #[test]
    fn causes_and_retry_times_are_kept() {
        let error = answer(json!({
            "code": 422, "reason": "Invalid", "message": "bad",
            "details": {"causes": [{"reason": "FieldValueRequired", "message": "Required value", "field": "spec.template"}]},
        }));
        let causes = vec![("spec.template".to_owned(), "Required value".to_owned())];
        assert_eq!(
            error,
            ProviderError::Invalid {
                message: "bad".to_owned(),
                reason: "Invalid".to_owned(),
                causes
            }
        );
        let error = answer(
            json!({"code": 429, "reason": "TooManyRequests", "message": "slow", "details": {"retryAfterSeconds": 7}}),
        );
        assert_eq!(
            error,
            ProviderError::Throttled {
                retry_after: Some(Duration::from_secs(7))
            }
        );
    }

    #[test]
    fn an_error_page_is_not_an_answer_of_the_server() {
        assert!(matches!(
            answer(json!({"code": 404, "reason": NOT_A_STATUS, "message": "<html>"})),
            ProviderError::Unreachable(_)
        ));
        assert!(matches!(
            answer(json!({"code": 422, "reason": NOT_A_STATUS, "message": "<html>"})),
            ProviderError::Unreachable(_)
        ));
        assert!(matches!(
            answer(json!({"code": 404, "reason": NOT_A_STATUS, "message": KIND_NOT_SERVED})),
            ProviderError::NotFound(_)
        ));
        assert!(matches!(
            answer(json!({"code": 429, "reason": NOT_A_STATUS, "message": "later"})),
            ProviderError::Throttled { .. }
        ));
    }

    #[test]
    fn only_a_status_of_the_server_proves_absence() {
        let error = |reason: &str| kube::Error::Api(Box::new(Status::failure("gone", reason).with_code(404)));
        assert!(is_absent(&error("NotFound")));
        assert!(!is_absent(&error(NOT_A_STATUS)));
    }

    #[test]
    fn cut_and_foreign_documents_differ() {
        let error = |text: &str| match serde_json::from_str::<Status>(text) {
            Ok(_) => panic!("{text} is a status"),
            Err(error) => provider_error(&kube::Error::SerdeError(error)),
        };
        assert!(matches!(error("{\"code\": 2"), ProviderError::Unreachable(_)));
        assert!(matches!(error("<html>"), ProviderError::Schema(_)));
        assert!(matches!(error("{\"code\": \"x\"}"), ProviderError::Schema(_)));
    }

    #[test]
    fn texts_are_cut_and_redacted() {
        let long = "x".repeat(2_000);
        let ProviderError::NotFound(text) = answer(json!({"code": 404, "reason": "NotFound", "message": long})) else {
            panic!("a 404 is NotFound")
        };
        assert_eq!(text.chars().count(), MAX_TEXT);
        let secret = answer(
            json!({"code": 403, "reason": "Forbidden", "message": "Authorization: Bearer abcdefghijklmnopqrst"}),
        );
        assert_eq!(secret, ProviderError::Forbidden("[REDACTED]".to_owned()));
    }
}
