//! Query parameters, and the options that may come in a query or in a body.

use actix_web::http::Method;
use actix_web::web::Query;
use serde_json::Value;

use super::Call;
use crate::status::ApiError;

/// The query string, decoded, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Decodes a query string; one that cannot be decoded counts as empty.
    pub fn parse(query: &str) -> Self {
        Query::<Vec<(String, String)>>::from_query(query)
            .map(|query| Self(query.into_inner()))
            .unwrap_or_default()
    }

    /// The last non-empty value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// A parameter that is `true`, `1`, or present without a value.
    pub fn flag(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|(key, value)| key == name && matches!(value.as_str(), "true" | "1" | ""))
    }

    /// A whole number.
    pub fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let number = text
            .parse()
            .map_err(|_| ApiError::bad_request(format!("strconv.ParseUint: parsing {text:?}: invalid syntax")))?;
        Ok(Some(number))
    }
}

/// Whether a write must leave no trace; `dryRun` comes in the query or, for deletions and power, the body.
pub(crate) fn is_dry_run(call: &Call) -> Result<bool, ApiError> {
    let mut values: Vec<String> = call.params.get("dryRun").map(str::to_owned).into_iter().collect();
    let carries_options = call.method == Method::DELETE || call.method == Method::PUT;
    if carries_options && let Ok(body) = serde_json::from_slice::<Value>(&call.body) {
        let listed = body["dryRun"].as_array().map(Vec::as_slice).unwrap_or_default();
        values.extend(listed.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    match values.iter().find(|value| value.as_str() != "All") {
        Some(unknown) => Err(ApiError::new(
            422,
            "Invalid",
            format!("dryRun: Unsupported value: [{unknown:?}]: supported values: \"All\""),
        )),
        None => Ok(!values.is_empty()),
    }
}

/// What to do with fields the schema does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and say so in a `Warning` header.
    Warn,
    /// Refuse the request.
    Strict,
}

/// Options of creates, updates and patches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WriteOptions {
    /// Validate and answer, but store nothing.
    pub dry_run: bool,
    /// Who owns the written fields.
    pub manager: String,
    /// The manager as given; apply insists on one.
    pub named_manager: bool,
    /// Take over fields owned by others; only for apply.
    pub force: bool,
    /// Unknown fields.
    pub validation: FieldValidation,
}

impl WriteOptions {
    /// Reads them from a request.
    pub fn of(call: &Call) -> Result<Self, ApiError> {
        let validation = match call.params.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                return Err(ApiError::new(
                    422,
                    "Invalid",
                    format!(
                        "fieldValidation: Unsupported value: {other:?}: supported values: \"\", \"Ignore\", \
                         \"Strict\", \"Warn\""
                    ),
                ));
            }
        };
        let named = call.params.get("fieldManager");
        Ok(Self {
            dry_run: is_dry_run(call)?,
            manager: named
                .unwrap_or(if call.agent.is_empty() {
                    "unknown"
                } else {
                    call.agent.as_str()
                })
                .to_owned(),
            named_manager: named.is_some(),
            force: call.params.flag("force"),
            validation,
        })
    }
}

/// Options of deletions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    /// Answer, but delete nothing.
    pub dry_run: bool,
    /// What becomes of dependents.
    pub propagation: Propagation,
    /// The uid the object must have.
    pub uid: Option<String>,
    /// The version the object must have.
    pub resource_version: Option<String>,
}

/// What becomes of the objects a deleted one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// They go afterwards.
    Background,
    /// They go first.
    Foreground,
    /// They stay.
    Orphan,
}

impl DeleteOptions {
    /// Reads them from body and query; the body wins.
    pub fn of(call: &Call) -> Result<Self, ApiError> {
        let body = if call.body.is_empty() {
            Value::Null
        } else {
            super::json_object(&call.body)?
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let queried = || call.params.get("propagationPolicy").map(str::to_owned);
        let policy = text(&body["propagationPolicy"]).or_else(queried);
        let propagation = match policy.as_deref() {
            None | Some("Background") => Propagation::Background,
            Some("Foreground") => Propagation::Foreground,
            Some("Orphan") => Propagation::Orphan,
            Some(other) => {
                return Err(ApiError::new(
                    422,
                    "Invalid",
                    format!(
                        "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: {other:?}"
                    ),
                ));
            }
        };
        Ok(Self {
            dry_run: is_dry_run(call)?,
            propagation,
            uid: text(&body["preconditions"]["uid"]),
            resource_version: text(&body["preconditions"]["resourceVersion"]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_numbers() {
        let params = Params::parse("watch=true&limit=5&labelSelector=a%3Db&empty=&force");
        assert!(params.flag("watch") && params.flag("force"));
        assert_eq!(params.number("limit").unwrap(), Some(5));
        assert_eq!(params.get("labelSelector"), Some("a=b"));
        assert_eq!(params.get("empty"), None);
        assert_eq!(Params::parse("limit=x").number("limit").unwrap_err().code, 400);
    }
}
