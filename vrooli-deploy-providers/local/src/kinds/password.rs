//! Passwords of what we make: of letters and digits, so that they need no escaping in a
//! URL, and in the secret store before anything uses them.

use vrooli_deploy_core::names::{ResourceKey, StackId};
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};
use vrooli_deploy_core::secrets::Secret;

use super::{Machine, secret_path};
use crate::failure;

const LENGTH: usize = 32;
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The one that is kept; made and kept when there is none.
pub(crate) fn kept(
    machine: &Machine,
    stack: &StackId,
    key: &ResourceKey,
    name: &str,
) -> Result<Secret<String>> {
    if let Some(password) = find(machine, stack, key, name)? {
        return Ok(password);
    }
    let password = generate()?;
    machine.secrets.put(&secret_path(stack, key, name), &password).map_err(failure::secret)?;
    Ok(password)
}

/// The one that is kept, if there is one.
pub(crate) fn find(
    machine: &Machine,
    stack: &StackId,
    key: &ResourceKey,
    name: &str,
) -> Result<Option<Secret<String>>> {
    match machine.secrets.latest(&secret_path(stack, key, name)).map_err(failure::secret)? {
        Some(reference) => machine.secrets.get(&reference).map(Some).map_err(failure::secret),
        None => Ok(None),
    }
}

fn generate() -> Result<Secret<String>> {
    let mut made = String::with_capacity(LENGTH);
    while made.len() < LENGTH {
        let mut bytes = [0_u8; LENGTH];
        getrandom::fill(&mut bytes).map_err(|error| {
            ProviderError::new(ErrorKind::Unexpected, format!("the kernel gives no random numbers: {error}"))
        })?;
        // Bytes beyond the last whole multiple are left out: all letters are equally likely.
        let letters = bytes.iter().filter(|byte| usize::from(**byte) < LETTERS.len() * 4);
        made.extend(
            letters
                .filter_map(|byte| LETTERS.get(usize::from(*byte) % LETTERS.len()))
                .map(|b| char::from(*b)),
        );
    }
    made.truncate(LENGTH);
    Ok(Secret::new(made))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_need_no_escaping_and_differ() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_eq!(one.expose().len(), LENGTH);
        assert!(one.expose().bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_ne!(one.expose(), two.expose());
    }
}
