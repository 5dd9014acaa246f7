use zeroize::Zeroize;

use super::{Secret, SecretError};

/// Characters of a generated secret. All of them are left as they are by URLs, shells,
/// unit files and YAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Charset {
    /// `A-Z`, `a-z`, `0-9`: 5.95 bits a character.
    #[default]
    Alphanumeric,
    /// `0-9`, `a-f`: 4 bits a character.
    Hexadecimal,
}

impl Charset {
    const fn characters(self) -> &'static [u8] {
        match self {
            Self::Alphanumeric => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            Self::Hexadecimal => b"0123456789abcdef",
        }
    }
}

/// A random secret of `length` letters and digits.
///
/// # Errors
/// When the operating system gives no random numbers.
pub fn generate(length: usize) -> Result<Secret<String>, SecretError> {
    generate_from(length, Charset::Alphanumeric)
}

/// A random secret of `length` characters of a set, each as likely as any other.
///
/// # Errors
/// When the operating system gives no random numbers.
pub fn generate_from(length: usize, charset: Charset) -> Result<Secret<String>, SecretError> {
    let characters = charset.characters();
    // Bytes from here on would make the first characters likelier than the last.
    let limit = 256 - 256 % characters.len();
    // Its full size from the start: growing would leave copies behind.
    let mut text = String::with_capacity(length);
    let mut random = [0_u8; 64];
    while text.len() < length {
        fill(&mut random)?;
        let fair = random.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < limit);
        for byte in fair.take(length - text.len()) {
            text.push(char::from(characters[byte % characters.len()]));
        }
    }
    random.zeroize();
    Ok(Secret::new(text))
}

/// Fills a buffer with random bytes of the operating system.
pub(super) fn fill(bytes: &mut [u8]) -> Result<(), SecretError> {
    getrandom::fill(bytes).map_err(|error| SecretError::Io {
        place: "the operating system's random numbers".to_owned(),
        message: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn lengths_and_characters_are_as_asked() {
        for length in [0, 1, 32, 63, 64, 65, 1000] {
            for charset in [Charset::Alphanumeric, Charset::Hexadecimal] {
                let secret = generate_from(length, charset).unwrap();
                assert_eq!(secret.expose().len(), length);
                assert!(secret.expose().bytes().all(|byte| charset.characters().contains(&byte)));
            }
        }
        assert_ne!(generate(32).unwrap().expose(), generate(32).unwrap().expose());
    }

    #[test]
    fn every_character_is_about_as_likely() {
        let mut counts = BTreeMap::new();
        let length = 62_000;
        for byte in generate(length).unwrap().expose().bytes() {
            *counts.entry(byte).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 62);
        let (first, last): (i32, i32) = (
            Charset::Alphanumeric.characters()[..8].iter().map(|byte| counts[byte]).sum(),
            Charset::Alphanumeric.characters()[54..].iter().map(|byte| counts[byte]).sum(),
        );
        // Each sum is 8000 ± 89; a plain modulo would make the first 9688.
        assert!(first < 8900 && last > 7100, "{first} {last}");
    }
}
