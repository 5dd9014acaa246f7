//! What several servers said, as one answer.

use futures_util::future::join_all;
use vrooli_deploy_core::provider::{ErrorKind, ProviderError, Result};

use crate::host::HostName;

/// Asks all at the same time.
pub(super) async fn each<'a, H, T, F>(hosts: &'a [H], ask: impl Fn(&'a H) -> F) -> Vec<(&'a H, Result<T>)>
where
    F: Future<Output = Result<T>> + 'a,
{
    join_all(hosts.iter().map(|host| {
        let asked = ask(host);
        async move { (host, asked.await) }
    }))
    .await
}

/// The answers of all; of those that failed the gravest says what to do, and all are named.
pub(super) fn all<H, T>(
    answers: Vec<(&H, Result<T>)>,
    name: impl Fn(&H) -> &HostName,
) -> Result<Vec<(&H, T)>> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (host, answer) in answers {
        match answer {
            Ok(answer) => good.push((host, answer)),
            Err(error) => bad.push((name(host).clone(), error)),
        }
    }
    if bad.is_empty() { Ok(good) } else { Err(failed(bad)) }
}

/// One error of those that servers gave.
pub(super) fn failed(mut errors: Vec<(HostName, ProviderError)>) -> ProviderError {
    // What may have happened must be looked up, whatever became of the others.
    errors.sort_by_key(|(_, error)| error.kind() != ErrorKind::Ambiguous);
    let mut errors = errors.into_iter();
    let Some((host, first)) = errors.next() else {
        return ProviderError::new(ErrorKind::Unexpected, "no server failed");
    };
    let mut message = named(&host, first.message());
    for (host, error) in errors {
        message.push_str("; ");
        message.push_str(&named(&host, error.message()));
    }
    let mut error = ProviderError::new(first.kind(), message).with_retry(first.retry());
    if let Some(code) = first.code() {
        error = error.with_code(code);
    }
    if let Some(help) = first.help() {
        error = error.with_help(help);
    }
    for (name, value) in first.context() {
        error = error.with_context(name, value.clone());
    }
    error.with_context("host", host.to_string())
}

/// What was said, with who said it.
fn named(host: &HostName, words: &str) -> String {
    if words.contains(host.as_str()) { words.to_owned() } else { format!("{host}: {words}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_that_failed_is_named_and_what_may_have_happened_comes_first() {
        let host = |name: &str| HostName::new(name).unwrap();
        let error = failed(vec![
            (host("web1"), ProviderError::new(ErrorKind::Fenced, "a newer run").with_help("again")),
            (host("web2"), ProviderError::new(ErrorKind::Ambiguous, "the connection to web2 broke off")),
        ]);
        assert_eq!(error.kind(), ErrorKind::Ambiguous);
        assert_eq!(error.message(), "the connection to web2 broke off; web1: a newer run");
        assert_eq!(error.context(), [("host", "web2".to_owned())]);
    }
}
