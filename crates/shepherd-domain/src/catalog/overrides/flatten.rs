//! From what was sent to leaves that are in nobody's way.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::path::checked_key;
use super::{PathError, Reason, Segment, SpecOverrides, SpecPath, forbidden, refuse, refuse_text};
use crate::problem::Problem;

type Leaves = BTreeMap<SpecPath, Value>;

/// The leaves of all overrides.
pub(super) fn leaves(map: &Map<String, Value>) -> Result<Leaves, Problem> {
    let mut leaves = Leaves::new();
    let mut bytes = 0_usize;
    for (text, value) in map {
        let path = SpecPath::parse(text).map_err(|error| malformed(text, error))?;
        if !matches!(path.segments().first(), Some(Segment::Key(key)) if key == "spec") {
            return Err(refuse(path, Reason::NotSpec));
        }
        bytes += text.len() + value.to_string().len();
        if bytes > SpecOverrides::MAX_BYTES {
            return Err(refuse(path, Reason::TooLarge));
        }
        add(&mut leaves, path, value)?;
    }
    check_neighbours(&leaves)?;
    Ok(leaves)
}

fn malformed(path: &str, error: PathError) -> Problem {
    refuse_text(path, error.reason())
}

/// Takes the objects apart; the depth of a path bounds how far this goes down.
fn add(leaves: &mut Leaves, path: SpecPath, value: &Value) -> Result<(), Problem> {
    if let Some(object) = value.as_object().filter(|object| !object.is_empty()) {
        for (key, inner) in object {
            let path = path
                .field(key)
                .map_err(|error| malformed(&format!("{path}.{key}"), error))?;
            add(leaves, path, inner)?;
        }
        return Ok(());
    }
    let value = normal(value, 0).map_err(|reason| refuse(&path, reason))?;
    forbidden::check(&path, &value)?;
    check_entry(&path, &value).map_err(|reason| refuse(&path, reason))?;
    if leaves.contains_key(&path) {
        return Err(refuse(path, Reason::Duplicate));
    }
    if leaves.len() == SpecOverrides::MAX_ENTRIES {
        return Err(refuse(path, Reason::TooMany));
    }
    leaves.insert(path, value);
    Ok(())
}

/// The value as Kubernetes would have it: numbers that are whole are integers.
fn normal(value: &Value, depth: usize) -> Result<Value, Reason> {
    if depth > SpecOverrides::MAX_VALUE_DEPTH {
        return Err(Reason::ValueTooDeep);
    }
    match value {
        Value::Null => Err(Reason::Null),
        Value::Bool(_) | Value::String(_) => Ok(value.clone()),
        Value::Number(number) => whole(number).map(Value::Number),
        Value::Array(items) => {
            let items: Result<Vec<Value>, Reason> = items.iter().map(|item| normal(item, depth + 1)).collect();
            items.map(Value::Array)
        }
        Value::Object(object) => {
            let entries: Result<Map<String, Value>, Reason> = object
                .iter()
                .map(|(key, inner)| {
                    let key = checked_key(key).map_err(|_| Reason::Key)?;
                    Ok((key, normal(inner, depth + 1)?))
                })
                .collect();
            entries.map(Value::Object)
        }
    }
}

/// An integer if the number is one; 64 bits with a sign are what Kubernetes holds.
fn whole(number: &Number) -> Result<Number, Reason> {
    /// The first float beyond the range, which itself is exact.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if number.is_i64() {
        return Ok(number.clone());
    }
    let float = number
        .as_f64()
        .filter(|float| float.is_finite())
        .ok_or(Reason::Number)?;
    if number.is_u64() || !(-LIMIT..LIMIT).contains(&float) {
        return Err(Reason::Number);
    }
    Ok(if float.fract() == 0.0 {
        Number::from(float as i64)
    } else {
        number.clone()
    })
}

/// An entry that is found by its name must still be found by it afterwards, or a second time would add a second one.
fn check_entry(path: &SpecPath, value: &Value) -> Result<(), Reason> {
    let segments = path.segments();
    if matches!(segments.last(), Some(Segment::Named(_))) && !value.is_object() {
        return Err(Reason::EntryNotObject);
    }
    for (position, pair) in segments.windows(2).enumerate() {
        match pair {
            [Segment::Named(name), Segment::Key(key)] if key == "name" => {
                let is_leaf = position + 2 == segments.len();
                if !is_leaf || value.as_str() != Some(name.as_str()) {
                    return Err(Reason::EntryRenamed);
                }
            }
            [Segment::Named(_), Segment::Index(_) | Segment::Named(_)] => return Err(Reason::EntryNotObject),
            _ => {}
        }
    }
    Ok(())
}

/// A place holds a value, or fields, or entries by index, or entries by name; never two of these. In path order those
/// that disagree about a place are neighbours.
fn check_neighbours(leaves: &Leaves) -> Result<(), Problem> {
    for (path, following) in leaves.keys().zip(leaves.keys().skip(1)) {
        let mut below = path.segments().iter().zip(following.segments());
        let agree = match below.find(|(one, other)| one != other) {
            Some((one, other)) => std::mem::discriminant(one) == std::mem::discriminant(other),
            // The first is the beginning of the second: it is a value and would hold the second.
            None => false,
        };
        if !agree {
            return Err(refuse(following, Reason::Conflict));
        }
    }
    Ok(())
}
