//! Every operation that a document names (`POST /vms`, in code or in a script) is one of the API description.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use super::document::Documents;

const DESCRIPTION: &str = "docs/openapi/v1.json";
/// Where the operations live; documents leave it out.
const BASE: &str = "/api/v1";
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
/// What is outside the description: the listener for metrics.
const OTHERS: [(&str, &str); 1] = [("GET", "/metrics")];
/// Records of decisions name what was as it was.
const HISTORY: [&str; 3] = ["docs/adr", "docs/book/src/adr", "CHANGELOG.md"];

pub(super) fn check(root: &Path, documents: &Documents) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(root.join(DESCRIPTION)).with_context(|| format!("read {DESCRIPTION}"))?;
    let description: Value = serde_json::from_str(&text).with_context(|| format!("read {DESCRIPTION}"))?;
    let known = Operations::of(&description);
    let mut problems = Vec::new();
    for (path, document) in documents.iter() {
        if HISTORY.iter().any(|history| path.starts_with(history)) {
            continue;
        }
        let in_text = document.codes.iter().map(|code| (code.line, code.text.as_str()));
        let in_scripts = document.scripts.iter().flat_map(|script| {
            script
                .text
                .lines()
                .enumerate()
                .map(|(index, line)| (script.line + index, line))
        });
        for (line, text) in in_text.chain(in_scripts) {
            for (method, route) in named(text) {
                if !known.have(method, route) {
                    problems.push(format!("{}:{line}: {method} {route} is no operation", path.display()));
                }
            }
        }
    }
    Ok(problems)
}

/// Methods with the paths that follow them.
fn named(text: &str) -> Vec<(&str, &str)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let pairs = words.windows(2).filter_map(|pair| {
        let (method, route) = (
            pair[0].trim_start_matches(['"', '`']),
            pair[1].trim_matches(['"', '\'', '`', ')', ',']),
        );
        (METHODS.contains(&method) && route.starts_with('/')).then_some((method, route))
    });
    pairs.collect()
}

/// Operations by method and the segments of their paths.
struct Operations<'a>(BTreeSet<(String, Vec<&'a str>)>);

impl<'a> Operations<'a> {
    fn of(description: &'a Value) -> Self {
        let paths = description["paths"].as_object().into_iter().flatten();
        let operations = paths.flat_map(|(path, operations)| {
            let path: &str = path.strip_prefix(BASE).unwrap_or(path);
            let methods = operations.as_object().into_iter().flat_map(|methods| methods.keys());
            methods.map(move |method| (method.to_uppercase(), path.split('/').collect::<Vec<&str>>()))
        });
        Self(operations.collect())
    }

    fn have(&self, method: &str, route: &str) -> bool {
        let route = route.split_once('?').map_or(route, |(path, _)| path);
        let route = route.strip_prefix(BASE).unwrap_or(route);
        let segments: Vec<&str> = route.split('/').collect();
        let is_it = |known: &[&str]| {
            let same = |(known, named): (&&str, &&str)| known == named || (is_open(known) && is_open(named));
            known.len() == segments.len() && known.iter().zip(&segments).all(same)
        };
        OTHERS.contains(&(method, route)) || self.0.iter().any(|(known, path)| known == method && is_it(path))
    }
}

/// A segment that stands for any: `{vm_id}`, or a variable of a script.
fn is_open(segment: &str) -> bool {
    segment.starts_with(['{', '$'])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_operation_is_found_whatever_its_parameters_are_called() {
        let description = json!({"paths": {"/api/v1/vms/{vm_id}/start": {"post": {}}, "/api/v1/vms": {"get": {}}}});
        let known = Operations::of(&description);
        assert!(known.have("POST", "/vms/$vm/start"));
        assert!(known.have("POST", "/api/v1/vms/{id}/start"));
        assert!(known.have("GET", "/vms?page=1"));
        assert!(known.have("GET", "/metrics"));
        assert!(!known.have("GET", "/vms/$vm/start"));
        assert!(!known.have("POST", "/vms/start/start"));
        assert!(!known.have("POST", "/vms"));
    }

    #[test]
    fn operations_are_found_in_sentences_and_scripts() {
        assert_eq!(named("POST /vms"), [("POST", "/vms")]);
        assert_eq!(
            named("call $admin DELETE \"/vms/$vm?confirm=true\" | jq"),
            [("DELETE", "/vms/$vm?confirm=true")]
        );
        assert!(named("GET it there").is_empty());
    }
}
