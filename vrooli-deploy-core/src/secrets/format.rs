//! Does a value have the form that was asked for? Says nothing about the value itself.

/// A regular expression that a value must match somewhere: `^` and `$` say the whole.
#[derive(Debug, Clone)]
pub struct Format(regex_lite::Regex);

/// Longest regular expression that is read, in bytes.
const LONGEST: usize = 4096;

impl Format {
    /// Reads a regular expression. Look-around and back-references do not exist here, so that
    /// matching takes time proportional to the value.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn new(expression: &str) -> Result<Self, String> {
        if expression.len() > LONGEST {
            return Err(format!("it has more than {LONGEST} characters"));
        }
        regex_lite::RegexBuilder::new(expression)
            .size_limit(1 << 20)
            .build()
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// Does the value match?
    #[must_use]
    pub fn matches(&self, value: &super::Secret<String>) -> bool {
        self.0.is_match(value.expose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Secret;

    #[test]
    fn values_are_held_against_their_format() {
        let fits =
            |format: &str, value: &str| Format::new(format).unwrap().matches(&Secret::new(value.into()));
        assert!(fits(".{8,}", "12345678") && !fits(".{8,}", "1234567"));
        let key = "^sk-or-v1-[a-f0-9]{64}$";
        assert!(fits(key, &format!("sk-or-v1-{}", "0af9".repeat(16))));
        assert!(!fits(key, "sk-or-v1-xyz") && !fits(key, &format!(" sk-or-v1-{}", "0af9".repeat(16))));
    }

    #[test]
    fn what_is_no_regular_expression_is_said() {
        for bad in ["(?=x)", "[", r"(a)\1", "a{9999999}{9999999}"] {
            assert!(Format::new(bad).is_err(), "{bad}");
        }
        assert!(Format::new(&"a".repeat(5000)).is_err());
    }
}
