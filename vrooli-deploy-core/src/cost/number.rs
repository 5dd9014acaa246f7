//! Decimal numbers from JSON and YAML, exact as they were written.

use rust_decimal::Decimal;
use serde_json::Value;

/// The largest number that is taken, of whatever it is: beyond it nobody means it, and sums
/// and products of a few of them still fit.
const LARGEST: i64 = 1_000_000_000_000;

/// A number that is not negative, as number or text.
///
/// # Errors
/// A phrase that follows the name of what was read: `must be a number, not …`.
pub(super) fn decimal(value: &Value) -> Result<Decimal, String> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        other => return Err(format!("must be a number, not {other}")),
    };
    parse(&text)
}

/// A number that is not negative, from text.
///
/// # Errors
/// See [`decimal`].
pub(super) fn parse(text: &str) -> Result<Decimal, String> {
    let number =
        if text.contains(['e', 'E']) { Decimal::from_scientific(text) } else { text.parse::<Decimal>() }
            .map_err(|_| format!("must be a number, not `{text}`"))?;
    if number.is_sign_negative() && !number.is_zero() {
        return Err(format!("must not be negative, and is {number}"));
    }
    if number > Decimal::from(LARGEST) {
        return Err(format!("must be at most {LARGEST}, and is {number}"));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_exact_and_bad_ones_are_refused() {
        for (value, text) in [
            (json!(0.1), "0.1"),
            (json!(0.02250685), "0.02250685"),
            (json!("15.00"), "15.00"),
            (json!(5), "5"),
            (json!(1e-7), "0.0000001"),
            (json!("-0"), "0"),
        ] {
            assert_eq!(decimal(&value).unwrap().to_string().trim_start_matches('-'), text);
        }
        for bad in [json!(-1), json!("x"), json!(null), json!(1e13), json!("1e40"), json!("NaN"), json!([1])]
        {
            assert!(decimal(&bad).is_err(), "{bad}");
        }
    }
}
