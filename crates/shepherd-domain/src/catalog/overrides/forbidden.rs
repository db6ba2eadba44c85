//! What is not a size's to set.
//!
//! Paths are compared without regard to case and with dots inside of keys taken as separators: whatever could be
//! mistaken for a path that is not a size's, by whomever, is refused like it.

use serde_json::Value;

use super::{Reason, Segment, SpecPath, refuse};
use crate::problem::Problem;

/// What the platform sets, with everything below it.
const OWNED: [&str; 5] = [
    "spec.runstrategy",
    "spec.running",
    "spec.template.metadata",
    "spec.template.spec.hostname",
    "spec.datavolumetemplates",
];

/// What columns set that have rules of their own (overcommit), and the column. Sockets and threads multiply cores:
/// the machine would have more processors than anybody asked for or approved.
const COLUMNS: [(&str, &str); 5] = [
    ("spec.template.spec.domain.cpu.sockets", "cpu_cores"),
    ("spec.template.spec.domain.cpu.threads", "cpu_cores"),
    ("spec.template.spec.domain.resources.limits.cpu", "cpu_cores"),
    ("spec.template.spec.domain.resources.limits.memory", "memory_mb"),
    ("spec.template.spec.domain.resources.requests.cpu", "cpu_request"),
];

/// Lists the platform fills. Entries can be added to and found in them by name, so that none of the platform's is lost.
const LISTS: [&str; 2] = [VOLUMES, "spec.template.spec.domain.devices.disks"];
const VOLUMES: &str = "spec.template.spec.volumes";

/// Volumes of the platform. The third one, `cloudinit`, is refused like everything of that name.
const RESERVED_VOLUMES: [&str; 2] = ["root", "data"];

/// Objects the platform fills: their fields can be set, they cannot be replaced.
const OBJECTS: [&str; 10] = [
    "spec",
    "spec.template",
    "spec.template.spec",
    "spec.template.spec.domain",
    "spec.template.spec.domain.cpu",
    "spec.template.spec.domain.devices",
    "spec.template.spec.domain.memory",
    "spec.template.spec.domain.resources",
    "spec.template.spec.domain.resources.limits",
    "spec.template.spec.domain.resources.requests",
];

/// Labels by which a guest finds a volume with its initial configuration, whatever kind of volume it is.
const CLOUD_INIT_LABELS: [&str; 2] = ["cidata", "config-2"];

/// Checks one leaf.
///
/// # Errors
/// INVALID_SPEC_OVERRIDES.
pub(super) fn check(path: &SpecPath, value: &Value) -> Result<(), Problem> {
    let steps = steps(path);
    let column = COLUMNS.iter().find(|(column, _)| below(&steps, column).is_some());
    if let Some((_, column)) = column {
        return Err(refuse(path, Reason::UseColumn).with("column", *column));
    }
    match reason(&steps, value) {
        Some(reason) => Err(refuse(path, reason)),
        None => Ok(()),
    }
}

fn reason(steps: &[Step], value: &Value) -> Option<Reason> {
    if OWNED.iter().any(|owned| below(steps, owned).is_some()) {
        return Some(Reason::PlatformOwned);
    }
    if initialises_guest(steps, value) {
        return Some(Reason::CloudInit);
    }
    if let Some(rest) = below(steps, VOLUMES)
        && matches!(rest.first(), Some(Step::Named(name)) if RESERVED_VOLUMES.contains(&name.as_str()))
    {
        return Some(Reason::PlatformOwned);
    }
    let entries = LISTS.iter().filter_map(|list| below(steps, list));
    if !entries
        .map(<[Step]>::first)
        .all(|step| matches!(step, Some(Step::Named(_))))
    {
        return Some(Reason::PlatformList);
    }
    let fields = OBJECTS.iter().filter_map(|object| below(steps, object));
    if !fields
        .map(<[Step]>::first)
        .all(|step| matches!(step, Some(Step::Key(_))))
    {
        return Some(Reason::PlatformObject);
    }
    None
}

/// A segment in the form in which it is compared.
enum Step {
    Key(String),
    Index,
    Named(String),
}

fn steps(path: &SpecPath) -> Vec<Step> {
    let mut steps = Vec::new();
    for segment in path.segments() {
        match segment {
            Segment::Key(key) => steps.extend(key.split('.').map(|part| Step::Key(part.to_ascii_lowercase()))),
            Segment::Index(_) => steps.push(Step::Index),
            Segment::Named(name) => steps.push(Step::Named(name.to_ascii_lowercase())),
        }
    }
    steps
}

/// What follows the prefix, if that is how the path begins.
fn below<'a>(steps: &'a [Step], prefix: &str) -> Option<&'a [Step]> {
    let mut rest = steps;
    for part in prefix.split('.') {
        match rest.split_first()? {
            (Step::Key(key), after) if key == part => rest = after,
            (Step::Key(_) | Step::Index | Step::Named(_), _) => return None,
        }
    }
    Some(rest)
}

/// Cloud-init: by the name of the volume or of its source, at any depth, or by the label of its file system.
fn initialises_guest(steps: &[Step], value: &Value) -> bool {
    let mut label = false;
    for step in steps {
        match step {
            Step::Key(text) | Step::Named(text) if is_cloud_init(text) => return true,
            Step::Key(text) => label = is_label(text),
            Step::Index | Step::Named(_) => label = false,
        }
    }
    holds_cloud_init(value, label)
}

fn holds_cloud_init(value: &Value, label: bool) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => {
            label
                && CLOUD_INIT_LABELS
                    .iter()
                    .any(|known| known.eq_ignore_ascii_case(text.trim()))
        }
        Value::Array(items) => items.iter().any(|item| holds_cloud_init(item, false)),
        Value::Object(object) => object
            .iter()
            .any(|(key, inner)| is_cloud_init(key) || holds_cloud_init(inner, is_label(key))),
    }
}

fn is_cloud_init(text: &str) -> bool {
    letters(text).contains("cloudinit")
}

fn is_label(key: &str) -> bool {
    letters(key) == "volumelabel"
}

fn letters(text: &str) -> String {
    let letters = text.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}
