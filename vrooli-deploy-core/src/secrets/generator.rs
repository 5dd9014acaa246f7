//! How a generated secret is to look. Making one is `generate`, which needs random numbers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Number of characters of a generated secret when nobody says.
pub const GENERATED_LENGTH: usize = 32;

/// Fewest and most characters that a generated secret may have.
pub const GENERATED_LENGTHS: std::ops::RangeInclusive<usize> = 8..=1024;

/// Characters of a generated secret. All sets but [`Base64`](Self::Base64) are left as they
/// are by URLs, shells, unit files and YAML.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Charset {
    /// `A-Z`, `a-z`, `0-9`: 5.95 bits a character. Needs no escaping in a database's URL.
    #[default]
    Alphanumeric,
    /// `A-Z`, `a-z`: 5.7 bits a character.
    Alphabetic,
    /// `0-9`: 3.3 bits a character.
    Numeric,
    /// `0-9`, `a-f`: 4 bits a character.
    Hexadecimal,
    /// The 64 characters of base64, with `+` and `/`: 6 bits a character. URLs need it escaped.
    Base64,
    /// The 64 characters of base64url, with `-` and `_`: 6 bits a character.
    UrlSafe,
}

impl Charset {
    /// The characters, each once.
    #[must_use]
    pub const fn characters(self) -> &'static [u8] {
        match self {
            Self::Alphanumeric => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            Self::Alphabetic => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            Self::Numeric => b"0123456789",
            Self::Hexadecimal => b"0123456789abcdef",
            Self::Base64 => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
            Self::UrlSafe => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
        }
    }

    /// In words, for people.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Alphanumeric => "letters and digits",
            Self::Alphabetic => "letters",
            Self::Numeric => "digits",
            Self::Hexadecimal => "hexadecimal digits",
            Self::Base64 => "base64 characters",
            Self::UrlSafe => "base64url characters",
        }
    }
}

/// What a generated secret is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum GeneratorSpec {
    /// Characters of a set, each as likely as any other.
    Random {
        /// How many.
        length: usize,
        /// Which.
        charset: Charset,
    },
    /// A random UUID (version 4), `8-4-4-4-12` lower-case hexadecimal digits: 122 bits.
    Uuid,
}

impl Default for GeneratorSpec {
    fn default() -> Self {
        Self::Random { length: GENERATED_LENGTH, charset: Charset::default() }
    }
}

impl std::fmt::Display for GeneratorSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Random { length, charset } => write!(f, "{length} random {}", charset.about()),
            Self::Uuid => f.write_str("a random UUID"),
        }
    }
}
