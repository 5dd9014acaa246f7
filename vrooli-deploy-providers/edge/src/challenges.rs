//! Answers by which a certificate authority is shown that a name leads here (RFC 8555, 8.3): what
//! the edge says under `/.well-known/acme-challenge/TOKEN`, before any route.
//!
//! An answer is small and no secret, so it can be handed to every edge that a name may lead to.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What stands before the token in a path.
pub(crate) const PREFIX: &str = "/.well-known/acme-challenge/";
/// Longest token, and longest second half of an answer; those in use have 43 characters.
const MAX_BYTES: usize = 128;
/// Most answers an edge keeps. An order has one a name, a hundred at most.
const MAX_ANSWERS: usize = 1_000;

/// Text that is no token or answer of a challenge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not {what}: use letters, digits, `-` and `_`")]
pub struct ChallengeError {
    /// What it was to be.
    pub what: &'static str,
    /// The text that was given, shortened to 64 characters.
    pub given: String,
}

fn check(what: &'static str, text: &str) -> Result<(), ChallengeError> {
    let fits = !text.is_empty() && text.len() <= MAX_BYTES;
    if fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        Ok(())
    } else {
        Err(ChallengeError { what, given: text.chars().take(64).collect() })
    }
}

/// The token of a challenge: what is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChallengeToken(Box<str>);

impl ChallengeToken {
    /// Checks and wraps a token.
    ///
    /// # Errors
    /// Refuses what is empty, longer than 128 bytes, or holds anything but letters, digits, `-`
    /// and `_` (RFC 8555, 8.1).
    pub fn new(token: impl AsRef<str>) -> Result<Self, ChallengeError> {
        check("the token of a challenge", token.as_ref())?;
        Ok(Self(token.as_ref().into()))
    }

    /// The token as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path that it is asked for at.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{PREFIX}{self}")
    }
}

impl Borrow<str> for ChallengeToken {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChallengeToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl TryFrom<String> for ChallengeToken {
    type Error = ChallengeError;
    fn try_from(token: String) -> Result<Self, ChallengeError> {
        Self::new(token)
    }
}

impl From<ChallengeToken> for String {
    fn from(token: ChallengeToken) -> String {
        token.0.into()
    }
}

/// An answer: the token, and who asked the authority for the challenge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChallengeAnswer {
    token: ChallengeToken,
    thumbprint: Box<str>,
}

impl ChallengeAnswer {
    /// Reads a key authorization, `TOKEN.THUMBPRINT`.
    ///
    /// # Errors
    /// Refuses what is not two such texts with a point between them.
    pub fn new(key_authorization: impl AsRef<str>) -> Result<Self, ChallengeError> {
        let text = key_authorization.as_ref();
        let what = "the answer to a challenge";
        let (token, thumbprint) = text
            .split_once('.')
            .ok_or_else(|| ChallengeError { what, given: text.chars().take(64).collect() })?;
        check(what, thumbprint)?;
        Ok(Self { token: ChallengeToken::new(token)?, thumbprint: thumbprint.into() })
    }

    /// What is asked for.
    #[must_use]
    pub fn token(&self) -> &ChallengeToken {
        &self.token
    }
}

impl fmt::Display for ChallengeAnswer {
    /// The key authorization, as it is sent.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.token, self.thumbprint)
    }
}

impl TryFrom<String> for ChallengeAnswer {
    type Error = ChallengeError;
    fn try_from(text: String) -> Result<Self, ChallengeError> {
        Self::new(text)
    }
}

impl From<ChallengeAnswer> for String {
    fn from(answer: ChallengeAnswer) -> String {
        answer.to_string()
    }
}

/// Whose account asks an authority for certificates: the second half of every answer to a challenge
/// of an order of it (RFC 8555, 8.1). No secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountThumbprint(Box<str>);

impl AccountThumbprint {
    /// Checks and wraps a thumbprint.
    ///
    /// # Errors
    /// As [`ChallengeToken::new`].
    pub fn new(thumbprint: impl AsRef<str>) -> Result<Self, ChallengeError> {
        check("the thumbprint of an account", thumbprint.as_ref())?;
        Ok(Self(thumbprint.as_ref().into()))
    }

    /// What is answered to a challenge of the account.
    #[must_use]
    pub fn answer(&self, token: ChallengeToken) -> ChallengeAnswer {
        ChallengeAnswer { token, thumbprint: self.0.clone() }
    }

    /// The thumbprint as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AccountThumbprint {
    type Error = ChallengeError;
    fn try_from(text: String) -> Result<Self, ChallengeError> {
        Self::new(text)
    }
}

impl From<AccountThumbprint> for String {
    fn from(thumbprint: AccountThumbprint) -> String {
        thumbprint.0.into()
    }
}

/// The answers that an edge holds, each until its time, and the accounts that it answers for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    by_token: BTreeMap<ChallengeToken, (ChallengeAnswer, u64)>,
    /// By host name in lower case.
    accounts: BTreeMap<String, AccountThumbprint>,
}

impl Answers {
    /// Keeps answers until a time in milliseconds since 1970; those whose time is over go.
    /// False, and nothing is changed, when there would be too many.
    #[must_use]
    pub(crate) fn place(&mut self, answers: Vec<ChallengeAnswer>, until: u64, now: u64) -> bool {
        self.by_token.retain(|_, (_, until)| *until > now);
        if self.by_token.len() + answers.len() > MAX_ANSWERS {
            return false;
        }
        for answer in answers {
            self.by_token.insert(answer.token.clone(), (answer, until));
        }
        true
    }

    pub(crate) fn remove(&mut self, tokens: &[ChallengeToken], now: u64) {
        self.by_token.retain(|token, (_, until)| *until > now && !tokens.contains(token));
    }

    /// Answers every challenge for these hosts as the account that has them, and for no others.
    pub(crate) fn answer_for(&mut self, accounts: BTreeMap<String, AccountThumbprint>) {
        self.accounts = accounts;
    }

    /// The answer to what is asked for at a path of a host, which is in lower case.
    pub(crate) fn find(
        &self,
        host: Option<&str>,
        path: &str,
        now: impl FnOnce() -> u64,
    ) -> Option<ChallengeAnswer> {
        if self.by_token.is_empty() && self.accounts.is_empty() {
            return None;
        }
        let token = path.strip_prefix(PREFIX)?;
        if let Some((answer, until)) = self.by_token.get(token)
            && *until > now()
        {
            return Some(answer.clone());
        }
        Some(self.accounts.get(host?)?.answer(ChallengeToken::new(token).ok()?))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ChallengeAnswer, u64)> {
        self.by_token.values().map(|(answer, until)| (answer, *until))
    }
}

/// Whether a path is one where an authority may ask: it is never sent elsewhere.
pub(crate) fn may_be_asked(path: &str) -> bool {
    path.strip_prefix(PREFIX).is_some_and(|token| check("", token).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_strictly() {
        let good = ChallengeAnswer::new("evaGxfADs6pSRb2LAv9IZ.9jg46WB3rR_AHD-EBXdN7c").unwrap();
        assert_eq!(good.token().path(), "/.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZ");
        assert_eq!(good.to_string(), "evaGxfADs6pSRb2LAv9IZ.9jg46WB3rR_AHD-EBXdN7c");
        let long = format!("{}.b", "a".repeat(129));
        for bad in ["", "a", ".", "a.", ".b", "a.b.c", "a/b.c", "a b.c", "../a.b", "é.b", &long] {
            assert!(ChallengeAnswer::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_answer_is_given_until_its_time_and_for_its_path_only() {
        let mut answers = Answers::default();
        assert!(answers.place(vec![ChallengeAnswer::new("tok.key").unwrap()], 100, 0));
        let find = |answers: &Answers, path: &str, now| {
            answers.find(Some("a.test"), path, || now).as_ref().map(ToString::to_string)
        };
        assert_eq!(find(&answers, "/.well-known/acme-challenge/tok", 99).as_deref(), Some("tok.key"));
        assert_eq!(find(&answers, "/.well-known/acme-challenge/tok", 100), None);
        for path in ["/.well-known/acme-challenge/", "/.well-known/acme-challenge/to", "/tok", "*"] {
            assert_eq!(find(&answers, path, 0), None, "{path}");
        }
        let many = |from: usize, to: usize| -> Vec<_> {
            (from..to).map(|number| ChallengeAnswer::new(format!("t{number}.k")).unwrap()).collect()
        };
        assert!(!answers.place(many(0, MAX_ANSWERS), 100, 0), "one is there already");
        assert_eq!(answers.iter().count(), 1);
        // Its time is over: then there is room.
        assert!(answers.place(many(0, MAX_ANSWERS), 200, 100));
        answers.remove(&[ChallengeToken::new("t5").unwrap()], 100);
        assert_eq!(answers.iter().count(), MAX_ANSWERS - 1);
    }

    #[test]
    fn any_challenge_of_a_host_is_answered_as_its_account() {
        let mut answers = Answers::default();
        let account = AccountThumbprint::new("9jg46WB3rR_AHD-EBXdN7c").unwrap();
        answers.answer_for(BTreeMap::from([("a.test".to_owned(), account)]));
        let find = |host, path: &str| answers.find(host, path, || 0).as_ref().map(ToString::to_string);
        let path = "/.well-known/acme-challenge/anything";
        assert_eq!(find(Some("a.test"), path).as_deref(), Some("anything.9jg46WB3rR_AHD-EBXdN7c"));
        for (host, path) in [
            (Some("b.test"), path),
            (None, path),
            (Some("a.test"), "/.well-known/acme-challenge/a/b"),
            (Some("a.test"), "/.well-known/acme-challenge/"),
            (Some("a.test"), "/other"),
        ] {
            assert_eq!(find(host, path), None, "{host:?} {path}");
        }
    }

    #[test]
    fn only_what_could_be_a_token_is_never_sent_elsewhere() {
        assert!(may_be_asked("/.well-known/acme-challenge/abc-_9"));
        for path in ["/.well-known/acme-challenge/", "/.well-known/acme-challenge/a/b", "/x", "/.well-known/"]
        {
            assert!(!may_be_asked(path), "{path}");
        }
    }
}
