use super::file_store::random;
use super::{Secret, SecretError};

/// URL-safe without escaping: some programs put a password into a URL as it is.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Makes a random value of so many letters and digits (5.95 bits each), from the system's generator.
///
/// # Errors
/// When the system gives no random bytes.
pub fn generate(length: usize) -> Result<Secret<String>, SecretError> {
    // The largest multiple of 62 in a byte: what is above would favour some characters.
    const FAIR: u8 = 248;
    let mut text = String::with_capacity(length);
    let mut bytes = [0_u8; 64];
    while text.len() < length {
        random(&mut bytes)
            .map_err(|e| SecretError::Io { place: "the system's random generator".to_owned(), message: e.to_string() })?;
        let fair = bytes.iter().filter(|b| **b < FAIR).map(|b| char::from(ALPHABET[usize::from(*b % 62)]));
        text.extend(fair.take(length - text.len()));
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    #[test]
    fn letters_and_digits_of_the_length() {
        let value = super::generate(200).unwrap();
        assert_eq!(value.expose().len(), 200);
        assert!(value.expose().bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_ne!(super::generate(32).unwrap().expose(), super::generate(32).unwrap().expose());
    }
}
