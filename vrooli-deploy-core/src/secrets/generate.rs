use zeroize::Zeroize;

use super::{Charset, GeneratorSpec, Secret, SecretError};

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
    drawn(length, charset, fill)
}

/// A random secret as a declaration asks for it.
///
/// # Errors
/// When the operating system gives no random numbers.
pub fn generate_for(spec: &GeneratorSpec) -> Result<Secret<String>, SecretError> {
    match *spec {
        GeneratorSpec::Random { length, charset } => generate_from(length, charset),
        GeneratorSpec::Uuid => {
            let mut bytes = [0_u8; 16];
            fill(&mut bytes)?;
            let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
            bytes.zeroize();
            Ok(Secret::new(uuid.hyphenated().to_string()))
        }
    }
}

/// Draws characters from bytes that `fill` makes.
fn drawn<E>(
    length: usize,
    charset: Charset,
    mut fill: impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<Secret<String>, E> {
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
    use std::convert::Infallible;

    use super::*;

    const ALL: [Charset; 6] = [
        Charset::Alphanumeric,
        Charset::Alphabetic,
        Charset::Numeric,
        Charset::Hexadecimal,
        Charset::Base64,
        Charset::UrlSafe,
    ];

    #[test]
    fn lengths_and_characters_are_as_asked() {
        for length in [0, 1, 32, 63, 64, 65, 1000] {
            for charset in ALL {
                let secret = generate_from(length, charset).unwrap();
                assert_eq!(secret.expose().len(), length);
                assert!(secret.expose().bytes().all(|byte| charset.characters().contains(&byte)));
            }
        }
        assert_ne!(generate(32).unwrap().expose(), generate(32).unwrap().expose());
    }

    /// Fed with every byte equally often, every character must come out equally often: no
    /// statistics, so nothing that fails once in a while.
    #[test]
    fn no_character_is_likelier_than_another() {
        for charset in ALL {
            let characters = charset.characters();
            let fair = 256 - 256 % characters.len();
            let mut next = 0_u8;
            let every_byte = |bytes: &mut [u8]| {
                for byte in bytes {
                    *byte = next;
                    next = next.wrapping_add(1);
                }
                Ok::<(), Infallible>(())
            };
            // Ten times round all bytes.
            let Ok(secret) = drawn(fair * 10, charset, every_byte);
            let mut counts: BTreeMap<u8, usize> = BTreeMap::new();
            for byte in secret.expose().bytes() {
                *counts.entry(byte).or_default() += 1;
            }
            assert_eq!(counts.len(), characters.len(), "{charset:?}");
            let each = fair * 10 / characters.len();
            assert!(counts.values().all(|count| *count == each), "{charset:?}: {counts:?}");
        }
    }

    #[test]
    fn what_goes_into_a_database_url_needs_no_escaping() {
        for charset in ALL.into_iter().filter(|charset| *charset != Charset::Base64) {
            let unreserved = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
            assert!(charset.characters().iter().all(unreserved), "{charset:?}");
        }
    }

    #[test]
    fn a_uuid_is_one() {
        let spec = GeneratorSpec::Uuid;
        let (one, two) = (generate_for(&spec).unwrap(), generate_for(&spec).unwrap());
        let parsed = uuid::Uuid::parse_str(one.expose()).unwrap();
        assert_eq!(parsed.get_version_num(), 4);
        assert_ne!(one.expose(), two.expose());
        let spec = GeneratorSpec::Random { length: 40, charset: Charset::Hexadecimal };
        assert_eq!(generate_for(&spec).unwrap().expose().len(), 40);
    }
}
