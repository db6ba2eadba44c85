//! Quantities of memory as Kubernetes writes them (`8Gi`, `1.5G`, `1073741824`), exactly.
//!
//! Exponents and suffixes below one are not read: no size is written that way, and what cannot be a whole number of MiB
//! is refused anyway.

use serde_json::Value;

/// Bytes of a MiB.
const MEBIBYTE: u128 = 1 << 20;
/// Longest quantity that is read; a sound one is far shorter.
const MAX_LENGTH: usize = 32;

/// Why a value is not so many MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuantityError {
    /// Not a quantity of memory, or one beyond any machine.
    NotAQuantity,
    /// Not a whole number of MiB.
    NotWhole,
}

/// The MiB of a quantity; a number without a suffix, quoted or not, counts bytes.
pub(super) fn mebibytes(value: &Value) -> Result<i32, QuantityError> {
    let (numerator, denominator) = match value {
        Value::String(text) => fraction(text),
        Value::Number(number) => number.as_u64().map(|bytes| (u128::from(bytes), 1)),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
    .ok_or(QuantityError::NotAQuantity)?;
    let unit = denominator.checked_mul(MEBIBYTE).ok_or(QuantityError::NotAQuantity)?;
    if numerator % unit != 0 {
        return Err(QuantityError::NotWhole);
    }
    i32::try_from(numerator / unit).map_err(|_| QuantityError::NotAQuantity)
}

/// The bytes, as a fraction.
fn fraction(text: &str) -> Option<(u128, u128)> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let digits: u128 = format!("{whole}{decimals}").parse().ok()?;
    let places = u32::try_from(decimals.len()).ok()?;
    Some((digits.checked_mul(factor(suffix)?)?, 10_u128.checked_pow(places)?))
}

fn factor(suffix: &str) -> Option<u128> {
    const BINARY: [&str; 5] = ["Ki", "Mi", "Gi", "Ti", "Pi"];
    const DECIMAL: [&str; 5] = ["k", "M", "G", "T", "P"];
    let power = |suffixes: &[&str], base: u128| -> Option<u128> {
        let place = suffixes.iter().position(|known| *known == suffix)?;
        base.checked_pow(u32::try_from(place + 1).ok()?)
    };
    if suffix.is_empty() {
        return Some(1);
    }
    power(&BINARY, 1_024).or_else(|| power(&DECIMAL, 1_000))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_suffix_is_read() {
        for (value, expected) in [
            (json!("1048576Ki"), 1_024),
            (json!("1024Mi"), 1_024),
            (json!("1Gi"), 1_024),
            (json!("1.5Gi"), 1_536),
            (json!(".5Gi"), 512),
            (json!("2Ti"), 2_097_152),
            (json!("1Pi"), 1_073_741_824),
            (json!("1073741824"), 1_024),
            (json!(1_073_741_824_u64), 1_024),
            (json!("1048.576k"), 1),
            (json!("1.048576M"), 1),
            (json!("0.001048576G"), 1),
            (json!("0"), 0),
        ] {
            assert_eq!(mebibytes(&value), Ok(expected), "{value}");
        }
    }

    #[test]
    fn parts_of_a_mebibyte_are_refused() {
        for text in ["1", "1G", "1.0001Mi", "1023Ki", "1048577"] {
            assert_eq!(mebibytes(&json!(text)), Err(QuantityError::NotWhole), "{text}");
        }
    }

    #[test]
    fn nonsense_and_excess_are_refused() {
        let long = "9".repeat(33);
        let large = "9".repeat(32);
        for value in [
            json!(""),
            json!("."),
            json!("Gi"),
            json!("1 Gi"),
            json!(" 1Gi"),
            json!("1gi"),
            json!("1GI"),
            json!("8GB"),
            json!("1K"),
            json!("1e9"),
            json!("1000m"),
            json!("-1Gi"),
            json!("+1Gi"),
            json!("1.2.3Gi"),
            json!("0x10Mi"),
            json!("\u{661}Gi"),
            json!("1Ei"),
            json!("2Pi"),
            json!("2048Ti"),
            json!(format!("{large}Pi")),
            json!(large),
            json!(long),
            json!(-1),
            json!(1.5),
            json!(null),
            json!(true),
            json!([]),
            json!({}),
        ] {
            let refused = mebibytes(&value).is_err();
            assert!(refused, "{value}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[0-9.]{0,34}(|[kMGTPE]i?|Ki|m|e[0-9]{1,3})", any in ".*") {
            let _ = mebibytes(&json!(text));
            let _ = mebibytes(&json!(any));
        }

        #[test]
        fn one_amount_is_the_same_in_every_unit(mib in 0..=i32::MAX) {
            prop_assert_eq!(mebibytes(&json!(format!("{mib}Mi"))), Ok(mib));
            prop_assert_eq!(mebibytes(&json!(i64::from(mib) << 20)), Ok(mib));
            prop_assert_eq!(mebibytes(&json!(format!("{}Ki", i64::from(mib) << 10))), Ok(mib));
        }
    }
}
