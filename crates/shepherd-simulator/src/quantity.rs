//! Kubernetes quantities: `500m`, `2Gi`, `1.5G`.

use serde_json::Value;

/// Parses a quantity into thousandths of its unit, so that `100m` and `2Gi` are both exact.
pub(crate) fn parse_quantity(text: &str) -> Option<i128> {
    const SUFFIXES: [(&str, i128); 13] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("Ei", 1 << 60),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("E", 1_000_000_000_000_000_000),
        ("", 1),
    ];
    if let Some(number) = text.strip_suffix('m') {
        return decimal(number, 1);
    }
    let (suffix, factor) = SUFFIXES.iter().find(|(suffix, _)| text.ends_with(suffix))?;
    decimal(text.strip_suffix(suffix)?, factor * 1_000)
}

/// A quantity given as JSON string or number, in whole units, rounded up.
pub(crate) fn units(value: &Value) -> Option<i128> {
    let thousandths = match value.as_str() {
        Some(text) => parse_quantity(text)?,
        None => i128::from(value.as_i64()?) * 1_000,
    };
    Some(thousandths.div_euclid(1_000) + i128::from(thousandths.rem_euclid(1_000) != 0))
}

fn decimal(number: &str, factor: i128) -> Option<i128> {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    Some(sign * (whole.checked_mul(factor)? + fraction * factor / scale))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn suffixes_and_fractions() {
        assert_eq!(parse_quantity("100m"), Some(100));
        assert_eq!(parse_quantity("2"), Some(2_000));
        assert_eq!(parse_quantity("1.5Gi"), Some(3 * 512 * 1024 * 1024 * 1_000));
        assert_eq!(units(&json!("2500m")), Some(3));
        assert_eq!(units(&json!(4)), Some(4));
        for nonsense in ["", "Gi", "two", "1.2.3", "1 Gi", "m"] {
            assert_eq!(parse_quantity(nonsense), None, "{nonsense:?}");
        }
    }
}
