//! The one-time password in the user data of a guest, as cloud-init's `set_passwords` module reads it.
//!
//! The text of the template stays as it is and gets one section more. Writing the whole document anew would lose its
//! comments, and could change what it means: cloud-init reads YAML 1.1, in which `0644` is an octal number and `on` is
//! a truth value. What comes out is read again, and only if that is not what was meant is everything written anew.

use serde_json::{Map, Value, json};
use shepherd_domain::rendering::GuestPassword;

use super::canonical;

/// First line of what cloud-init takes for configuration.
const HEADER: &str = "#cloud-config";
/// The section about passwords.
const SECTION: &str = "chpasswd";

/// User data that also gives the account its password, which has to be changed at the first login. Whether SSH takes
/// passwords (`ssh_pwauth`) is left as the template has it.
///
/// Passwords that the template sets for other accounts stay, and expire, too. Those of the same account go, whether
/// they stand in `users` or in the older `list`.
///
/// What is no YAML mapping is nothing to cloud-init either: such a guest gets its password and nothing else. Templates
/// are refused for that when they are saved.
pub(super) fn with_password(user_data: &str, password: &GuestPassword) -> String {
    let mut wanted = read(user_data).unwrap_or_default();
    let section = section(wanted.remove(SECTION), password);
    let text = spliced(user_data, &yaml(&json!({SECTION: section})));
    wanted.insert(SECTION.to_owned(), section);
    if read(&text).as_ref() == Some(&wanted) {
        return text;
    }
    format!("{HEADER}\n{}", yaml(&canonical(Value::Object(wanted))))
}

/// The mapping in the text; an empty one when the text has nothing but comments.
fn read(text: &str) -> Option<Map<String, Value>> {
    if text.lines().all(says_nothing) {
        return Some(Map::new());
    }
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        // As at the save of a template: what is `!!binary` is for the guest to decode.
        ignore_binary_tag_for_string: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).ok()
}

/// The section with the account's password in it.
fn section(existing: Option<Value>, password: &GuestPassword) -> Value {
    let mut section = existing.and_then(into_map).unwrap_or_default();
    let mut users = section.remove("users").and_then(into_list).unwrap_or_default();
    users.retain(|user| user["name"] != password.username.as_str());
    users.push(json!({"name": password.username, "password": password.hash, "type": "hash"}));
    let list = section
        .remove("list")
        .and_then(|list| without(list, &password.username));
    section.extend(list.map(|list| ("list".to_owned(), list)));
    section.insert("expire".to_owned(), Value::from(true));
    section.insert("users".to_owned(), Value::Array(users));
    canonical(Value::Object(section))
}

/// What is left of the older form, `name:password` in lines or entries, without an account.
fn without(list: Value, username: &str) -> Option<Value> {
    let is_others = |line: &str| line.split_once(':').is_none_or(|(name, _)| name.trim() != username);
    match list {
        Value::String(text) => {
            let lines = text.lines().filter(|line| is_others(line));
            let kept: String = lines.map(|line| format!("{line}\n")).collect();
            (!kept.trim().is_empty()).then(|| Value::from(kept))
        }
        Value::Array(mut entries) => {
            entries.retain(|entry| entry.as_str().is_none_or(is_others));
            (!entries.is_empty()).then_some(Value::Array(entries))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// The text with its section replaced, or with a new one in front of its first key.
fn spliced(text: &str, section: &str) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let head = head(&lines);
    let mut spliced = String::new();
    for line in lines.iter().take(head) {
        spliced.push_str(line.trim_end());
        spliced.push('\n');
    }
    spliced.push_str(section);
    let mut in_old_section = false;
    for line in lines.iter().skip(head) {
        let continues = line.starts_with([' ', '\t']) || line.trim().is_empty();
        in_old_section = line.starts_with("chpasswd:") || (in_old_section && continues);
        if !in_old_section {
            spliced.push_str(line);
        }
    }
    spliced
}

/// How many lines come before the first key: up to the header, or to the mark that the document begins.
fn head(lines: &[&str]) -> usize {
    let is_mark = |line: &str| line.trim_end() == "---";
    let leading = lines
        .iter()
        .take_while(|line| says_nothing(line) || is_mark(line))
        .enumerate();
    leading
        .filter(|(_, line)| is_mark(line) || line.trim_start().starts_with(HEADER))
        .last()
        .map_or(0, |(index, _)| index + 1)
}

fn says_nothing(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// Long texts stay on their lines: hashes are easier to recognise that way.
fn yaml(value: &Value) -> String {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    // A JSON value has nothing YAML could not express; if it had, JSON is YAML too.
    serde_saphyr::to_string_with_options(value, options).unwrap_or_else(|_| format!("{value}\n"))
}

fn into_map(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(map) => Some(map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

fn into_list(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(list) => Some(list),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => None,
    }
}
