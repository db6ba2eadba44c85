//! Texts of a cluster as they may be stored: a cluster is a stranger, and PostgreSQL keeps no NUL.

use std::collections::BTreeMap;

use serde_json::Value;

/// Longest text that is taken from an object, in characters; names and label values are far shorter.
const LONGEST: usize = 1_024;

/// The text, cut, with the replacement character in the place of every NUL: what was not equal stays so.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|one| if one == '\0' { char::REPLACEMENT_CHARACTER } else { one })
        .take(LONGEST)
        .collect()
}

/// A text that is there and says something.
pub(crate) fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(plain)
}

/// Labels or annotations.
pub(crate) fn pairs(pairs: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let pairs = pairs.into_iter().flatten();
    pairs.map(|(key, value)| (plain(key), plain(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_is_replaced_and_a_long_text_cut() {
        assert_eq!(plain("a\0b"), "a\u{fffd}b");
        assert_eq!(plain(&"x".repeat(5_000)).len(), LONGEST);
        assert_eq!(text(&Value::from("")), None);
    }
}
