//! Label and field selectors: parsing and matching, nothing else.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::object;
use crate::status::ApiError;

/// What one clause of a label selector demands of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Demand {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    Absent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Clause {
    key: String,
    demand: Demand,
}

/// The label and field selector of a list, watch or deletecollection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    labels: Vec<Clause>,
    fields: Vec<(String, bool, String)>,
}

impl Selector {
    /// Parses both selectors; absent or empty ones match everything.
    pub fn parse(labels: Option<&str>, fields: Option<&str>) -> Result<Self, ApiError> {
        Ok(Self {
            labels: parse_labels(labels.unwrap_or_default())?,
            fields: parse_fields(fields.unwrap_or_default())?,
        })
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object matches.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels
            .iter()
            .all(|clause| clause.holds(labels[clause.key.as_str()].as_str()))
            && self
                .fields
                .iter()
                .all(|(path, equal, wanted)| (field(object, path) == *wanted) == *equal)
    }
}

impl Clause {
    fn holds(&self, value: Option<&str>) -> bool {
        match &self.demand {
            Demand::In(set) => value.is_some_and(|value| set.contains(value)),
            // An object without the label satisfies `!=` and `notin`.
            Demand::NotIn(set) => value.is_none_or(|value| !set.contains(value)),
            Demand::Exists => value.is_some(),
            Demand::Absent => value.is_none(),
        }
    }
}

fn field(object: &Value, path: &str) -> String {
    match path {
        "metadata.name" => object::name(object).to_owned(),
        "metadata.namespace" => object::namespace(object).to_owned(),
        other => {
            let value = other.split('.').fold(object, |value, step| &value[step]);
            value.as_str().unwrap_or_default().to_owned()
        }
    }
}

fn parse_labels(text: &str) -> Result<Vec<Clause>, ApiError> {
    split_clauses(text)
        .into_iter()
        .map(|clause| parse_clause(clause.trim()))
        .collect()
}

/// Splits at commas outside of parentheses.
fn split_clauses(text: &str) -> Vec<&str> {
    let mut clauses = Vec::new();
    let (mut depth, mut start) = (0i32, 0);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                clauses.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    clauses.push(&text[start..]);
    clauses.retain(|clause| !clause.trim().is_empty());
    clauses
}

fn parse_clause(text: &str) -> Result<Clause, ApiError> {
    if let Some(key) = text.strip_prefix('!') {
        return clause(key, Demand::Absent, text);
    }
    if let Some(open) = text.find('(') {
        let values = text[open + 1..].strip_suffix(')').ok_or_else(|| unparsable(text))?;
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        let mut words = text[..open].split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => clause(key, Demand::In(values), text),
            (Some(key), Some("notin"), None) => clause(key, Demand::NotIn(values), text),
            _ => Err(unparsable(text)),
        };
    }
    let single = |value: &str| BTreeSet::from([value.trim().to_owned()]);
    if let Some((key, value)) = text.split_once("!=") {
        return clause(key, Demand::NotIn(single(value)), text);
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return clause(key, Demand::In(single(value)), text);
    }
    clause(text, Demand::Exists, text)
}

fn clause(key: &str, demand: Demand, text: &str) -> Result<Clause, ApiError> {
    let key = key.trim();
    let valid = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    if valid {
        Ok(Clause {
            key: key.to_owned(),
            demand,
        })
    } else {
        Err(unparsable(text))
    }
}

fn unparsable(text: &str) -> ApiError {
    ApiError::bad_request(format!(
        "unable to parse requirement: found {text:?}, expected: identifier and operator"
    ))
}

fn parse_fields(text: &str) -> Result<Vec<(String, bool, String)>, ApiError> {
    const SUPPORTED: [&str; 5] = [
        "metadata.name",
        "metadata.namespace",
        "status.phase",
        "spec.nodeName",
        "involvedObject.name",
    ];
    let mut fields = Vec::new();
    for clause in text.split(',').map(str::trim).filter(|clause| !clause.is_empty()) {
        let (path, equal, value) = if let Some((path, value)) = clause.split_once("!=") {
            (path, false, value)
        } else if let Some((path, value)) = clause.split_once("==").or_else(|| clause.split_once('=')) {
            (path, true, value)
        } else {
            return Err(ApiError::bad_request(format!(
                "invalid selector: {clause:?}; can't understand {clause:?}"
            )));
        };
        if !SUPPORTED.contains(&path) {
            return Err(ApiError::bad_request(format!("field label not supported: {path}")));
        }
        fields.push((path.to_owned(), equal, value.to_owned()));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(selector: &str) -> bool {
        let object = json!({"metadata": {"name": "web", "labels": {"app": "shop", "tier": "front"}}});
        Selector::parse(Some(selector), None).unwrap().matches(&object)
    }

    #[test]
    fn label_operators() {
        for holds in [
            "",
            "app=shop",
            "app==shop",
            "app!=bank",
            "zone!=a",
            "app in (bank, shop)",
            "zone notin (a,b)",
            "app",
            "!zone",
            "app=shop,tier in (front,back),!zone",
        ] {
            assert!(matches(holds), "{holds} should match");
        }
        for fails in [
            "app=bank",
            "app!=shop",
            "app in (bank)",
            "tier notin (front)",
            "zone",
            "!app",
            "app=shop,zone",
        ] {
            assert!(!matches(fails), "{fails} should not match");
        }
    }

    #[test]
    fn nonsense_is_a_bad_request() {
        assert_eq!(Selector::parse(Some("a in b,c)"), None).unwrap_err().code, 400);
        assert_eq!(Selector::parse(None, Some("spec.foo=1")).unwrap_err().code, 400);
    }

    #[test]
    fn field_selector_picks_one_name() {
        let selector = Selector::parse(None, Some("metadata.name=web")).unwrap();
        assert!(selector.matches(&json!({"metadata": {"name": "web"}})));
        assert!(!selector.matches(&json!({"metadata": {"name": "db"}})));
    }
}
