//! Kubernetes quantities (`500m`, `2Gi`, `1.5G`, `3e2`), exactly.

use serde_json::Value;

/// Bytes of a MiB.
pub(crate) const MEBIBYTE: i128 = 1 << 20;
/// Bytes of a GiB.
pub(crate) const GIBIBYTE: i128 = 1 << 30;
/// Longest quantity that is read; a sound one is far shorter.
const MAX_LENGTH: usize = 32;
/// Largest exponent that is read; the next suffix after it would not fit any quantity.
const MAX_EXPONENT: u32 = 18;

/// The quantity in whole multiples of `unit`, rounded up; `None` when it is no quantity, negative, or too large.
pub(crate) fn in_units(value: &Value, unit: i128) -> Option<i32> {
    let (numerator, denominator) = match value {
        Value::String(text) => parse(text)?,
        Value::Number(number) => parse(&number.to_string())?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let unit = denominator.checked_mul(unit)?;
    let whole = numerator.checked_add(unit.checked_sub(1)?)?.checked_div(unit)?;
    i32::try_from(whole).ok().filter(|_| numerator >= 0)
}

/// The quantity as a fraction.
fn parse(text: &str) -> Option<(i128, i128)> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (factor, divisor) = scale(suffix)?;
    let places = u32::try_from(fraction.len()).ok()?;
    let numerator = digits.checked_mul(factor)?;
    let denominator = 10_i128.checked_pow(places)?.checked_mul(divisor)?;
    Some((if text.starts_with('-') { -numerator } else { numerator }, denominator))
}

/// What a suffix multiplies and divides by.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const LARGE: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    const SMALL: [&str; 3] = ["m", "u", "n"];
    let nth = |suffixes: &[&str]| -> Option<u32> {
        let index = suffixes.iter().position(|known| *known == suffix)?;
        u32::try_from(index + 1).ok()
    };
    if suffix.is_empty() {
        return Some((1, 1));
    }
    if let Some(power) = nth(&BINARY) {
        return Some((1_024_i128.pow(power), 1));
    }
    if let Some(power) = nth(&LARGE) {
        return Some((1_000_i128.pow(power), 1));
    }
    if let Some(power) = nth(&SMALL) {
        return Some((1, 1_000_i128.pow(power)));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let magnitude = exponent.unsigned_abs();
    if magnitude > MAX_EXPONENT {
        return None;
    }
    let power = 10_i128.pow(magnitude);
    Some(if exponent < 0 { (1, power) } else { (power, 1) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_suffix_is_read() {
        for (text, mebibytes) in [
            ("1024Mi", 1_024),
            ("1Gi", 1_024),
            ("1.5Gi", 1_536),
            ("1048576Ki", 1_024),
            ("1073741824", 1_024),
            ("1G", 954),
            ("1e9", 954),
            ("1E9", 954),
            ("1073741824000m", 1_024),
            ("2Ti", 2_097_152),
            ("+2Gi", 2_048),
            ("0", 0),
            ("1", 1),
        ] {
            assert_eq!(in_units(&json!(text), MEBIBYTE), Some(mebibytes), "{text}");
        }
    }

    #[test]
    fn processors_are_rounded_up() {
        for (value, cores) in [
            (json!("500m"), 1),
            (json!("2500m"), 3),
            (json!("4"), 4),
            (json!(4), 4),
            (json!(1.5), 2),
            (json!("1e2"), 100),
            (json!("100e-2"), 1),
        ] {
            assert_eq!(in_units(&value, 1), Some(cores), "{value}");
        }
    }

    #[test]
    fn nonsense_and_excess_are_none() {
        for text in [
            "", "Gi", "two", "1.2.3", "1 Gi", "m", ".", "1KI", "-1Gi", "1e", "1e99", "9Ei", "1e18",
        ] {
            assert_eq!(in_units(&json!(text), 1), None, "{text:?}");
        }
        let long = "9".repeat(60);
        for value in [json!(null), json!(true), json!({}), json!(long)] {
            assert_eq!(in_units(&value, 1), None, "{value}");
        }
    }
}
