//! Passwords as PostgreSQL keeps them: the host never hears the password itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use vrooli_deploy_core::secrets::Secret;

/// As PostgreSQL's own; what is kept by it is 32 random characters, not a word.
const ITERATIONS: u32 = 4096;
const BLOCK: usize = 64;

fn hmac(key: &[u8], message: &[&[u8]]) -> [u8; 32] {
    let mut block = [0_u8; BLOCK];
    // Keys that are longer than a block do not occur: passwords are 32 characters, digests 32 bytes.
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let mut inner = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x36));
    for part in message {
        inner.update(part);
    }
    let mut outer = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

/// The verifier of RFC 5802 and RFC 7677 in PostgreSQL's form. The salt comes from `name` and the
/// password, so the same password gives the same verifier.
pub(crate) fn verifier(password: &Secret<String>, name: &str) -> Secret<String> {
    let password = password.expose().as_bytes();
    let salt = hmac(password, &[b"vrooli-deploy salt ", name.as_bytes()]);
    let salt = &salt[..16];
    let mut round = hmac(password, &[salt, &1_u32.to_be_bytes()]);
    let mut salted = round;
    for _ in 1..ITERATIONS {
        round = hmac(password, &[&round]);
        for (to, from) in salted.iter_mut().zip(round) {
            *to ^= from;
        }
    }
    let stored = Sha256::digest(hmac(&salted, &[b"Client Key"]));
    let server = hmac(&salted, &[b"Server Key"]);
    let text = |bytes: &[u8]| STANDARD.encode(bytes);
    Secret::new(format!("SCRAM-SHA-256${ITERATIONS}:{}${}:{}", text(salt), text(&stored), text(&server)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn hmac_is_as_in_its_rfc() {
        let made = hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        let text: String = made.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn a_verifier_holds_no_password_and_is_the_same_again() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let one = verifier(&secret("planted"), "a");
        assert!(one.expose().starts_with("SCRAM-SHA-256$4096:") && !one.expose().contains("planted"));
        assert_eq!(one.expose(), verifier(&secret("planted"), "a").expose());
        assert_ne!(one.expose(), verifier(&secret("planted"), "b").expose());
        assert_ne!(one.expose(), verifier(&secret("other"), "a").expose());
    }
}
