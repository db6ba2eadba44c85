//! The names of metrics in an expression of Prometheus; as much of its language as that needs.

use std::collections::BTreeSet;

/// Words between operands.
const OPERATORS: [&str; 6] = ["and", "atan2", "bool", "offset", "or", "unless"];
/// Words that are followed by labels in parentheses.
const GROUPING: [&str; 6] = ["by", "group_left", "group_right", "ignoring", "on", "without"];
/// Those of them that follow an aggregation.
const AGGREGATED: [&str; 2] = ["by", "without"];

/// The metrics an expression asks for.
pub(super) fn metrics(expression: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = expression;
    while let Some(next) = rest.chars().next() {
        rest = match next {
            '"' => past(&rest[1..], '"'),
            '{' => past_matchers(&rest[1..]),
            '[' => past(&rest[1..], ']'),
            letter if is_start(letter) => word(rest, &mut found),
            // Numbers, with the unit of a duration.
            digit if digit.is_ascii_digit() => rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.'),
            other => &rest[other.len_utf8()..],
        };
    }
    found
}

/// Reads one word; what follows it.
fn word<'a>(text: &'a str, found: &mut BTreeSet<String>) -> &'a str {
    let end = text.find(|c: char| !is_inner(c)).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let after = rest.trim_start();
    if GROUPING.contains(&word) {
        return after.strip_prefix('(').map_or(rest, |labels| past(labels, ')'));
    }
    let is_function = after.starts_with('(') || AGGREGATED.contains(&first_word(after));
    if !is_function && !OPERATORS.contains(&word) {
        found.insert(word.to_owned());
    }
    rest
}

/// The word a text begins with; empty when it begins with something else.
fn first_word(text: &str) -> &str {
    let end = text.find(|c: char| !is_inner(c)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// What follows the matchers of labels, whose values may hold braces.
fn past_matchers(text: &str) -> &str {
    let mut quoted = false;
    let end = text.find(|c: char| {
        quoted ^= c == '"';
        c == '}' && !quoted
    });
    end.map_or("", |end| &text[end + 1..])
}

/// What follows the next occurrence.
fn past(text: &str, end: char) -> &str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

fn is_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':'
}

fn is_inner(c: char) -> bool {
    is_start(c) || c.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_metrics_are_found() {
        for (expression, expected) in [
            ("up == 0", &["up"][..]),
            (r#"absent(up{job="a"} == 1)"#, &["up"]),
            (
                r#"sum(rate(http_requests_total{status=~"5..",route!~"x{2}"}[5m])) by (route) / sum by (route) (all_total) > 0.02"#,
                &["all_total", "http_requests_total"],
            ),
            (
                "histogram_quantile(0.99, sum(rate(wait_seconds_bucket[5m])) by (le, cluster))",
                &["wait_seconds_bucket"],
            ),
            (
                "time() - max(a_timestamp) by (job) > 1e3 or b offset 5m",
                &["a_timestamp", "b"],
            ),
            ("a and on (x) group_left (y) c unless d", &["a", "c", "d"]),
            ("vector(0) or label_replace(m, \"a\", \"$1\", \"b\", \"(.*)\")", &["m"]),
        ] {
            let found = metrics(expression);
            let found: Vec<&str> = found.iter().map(String::as_str).collect();
            assert_eq!(found, expected, "{expression}");
        }
    }

    #[test]
    fn an_unfinished_expression_ends() {
        for text in ["sum(", "a{b=\"", "a[5m", "\"", "a by (", ""] {
            let _ = metrics(text);
        }
    }
}
