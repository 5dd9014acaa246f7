//! What a profile must fulfil beyond its shape.

use std::path::Path;

use serde_json::Value;

use super::Profile;
use crate::diagnostics::{Diagnostic, rules};
use crate::manifest::SecretSource;
use crate::manifest::credentials::{has_key_format, suspect, url_password};
use crate::manifest::semantics::stays_inside;
use crate::manifest::yaml::{SpanIndex, child};

/// Everything that is wrong with a profile, wherever it came from. Repeats no value that
/// looks like a credential.
#[must_use]
pub fn check(profile: &Profile) -> Vec<Diagnostic> {
    check_at(profile, &SpanIndex::default())
}

/// The same with places in a file.
pub(super) fn check_at(profile: &Profile, spans: &SpanIndex) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut report = |at: &str, message: String, help: &str| {
        found.push(rules::PROFILE_VALUE.diagnostic(message).at(spans.value(at), "here").help(help));
    };
    let settings = &profile.settings;
    let parts =
        [("database", &settings.database), ("cache", &settings.cache), ("storage", &settings.storage)];
    let mut words: Vec<(String, &Option<String>)> = vec![
        ("region".to_owned(), &settings.region),
        ("compute/type".to_owned(), &settings.compute.kind),
        ("compute/size".to_owned(), &settings.compute.size),
    ];
    for (name, part) in parts {
        words.push((format!("{name}/type"), &part.kind));
        words.push((format!("{name}/size"), &part.size));
        words.push((format!("{name}/region"), &part.region));
        words.push((format!("{name}/version"), &part.version));
    }
    for (at, value) in words {
        if let Some(value) = value
            && !is_word(value)
        {
            report(
                &format!("/settings/{at}"),
                format!("`settings.{}` cannot be used", at.replace('/', ".")),
                "write the provider's own name: letters, digits, `.`, `_` and `-`",
            );
        }
    }
    if settings.compute.count == Some(0) {
        report(
            "/settings/compute/count",
            "`settings.compute.count` must be at least 1".to_owned(),
            "write e.g. `2`",
        );
    }
    if settings.port == Some(0) {
        report("/settings/port", "`settings.port` must be at least 1".to_owned(), "write e.g. `8080`");
    }
    if let Some(domain) = &settings.domain
        && !is_host_name(domain)
    {
        report(
            "/settings/domain",
            "`settings.domain` is no host name".to_owned(),
            "write e.g. `shop.example.com`",
        );
    }
    if let Some(ssl) = &settings.ssl
        && !SSL.contains(&ssl.as_str())
    {
        report(
            "/settings/ssl",
            "`settings.ssl` is none of the words that are known".to_owned(),
            "known are `letsencrypt`, `managed`, `none`",
        );
    }
    for (index, server) in settings.servers.iter().enumerate() {
        if !is_host_name(&server.host) || !is_word(&server.role) {
            report(
                &format!("/settings/servers/{index}"),
                format!("server {} has no host name or no role", index + 1),
                "write a host name or address, and a role such as `app` or `database`",
            );
        }
    }
    for (index, swap) in profile.swaps.iter().enumerate() {
        let same = profile.swaps.iter().filter(|other| other.from == swap.from).count();
        if same > 1 || swap.from == swap.to {
            report(
                &format!("/swaps/{index}"),
                format!("`{}` is swapped more than once, or for itself", swap.from),
                "leave one swap for each dependency",
            );
        }
        if profile.drop.contains(&swap.from) {
            report(
                &format!("/swaps/{index}"),
                format!("`{}` is both swapped and dropped", swap.from),
                "decide for one of the two",
            );
        }
    }
    for (variable, secret) in &profile.secrets {
        if let SecretSource::Store { path } = &secret.from
            && !stays_inside(path)
        {
            report(
                &format!("{}/from/store/path", child("/secrets", variable.as_str())),
                format!("the secret `{variable}` has no path in the secret store"),
                "write e.g. `shop/default/env/KEY`",
            );
        }
    }
    plain_secrets(profile, spans, &mut found);
    found
}

/// Words for `ssl`.
pub(super) const SSL: [&str; 3] = ["letsencrypt", "managed", "none"];

/// A name of a provider's: of a size, a region, a kind.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// A host name or an address.
pub(super) fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    text.parse::<std::net::IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(label))
}

fn plain_secrets(profile: &Profile, spans: &SpanIndex, found: &mut Vec<Diagnostic>) {
    for (variable, value) in &profile.settings.env {
        if let Some(suspicion) = suspect(variable.as_str(), value) {
            found.push(
                rules::PLAIN_SECRET
                    .diagnostic(format!(
                        "the value of `{variable}` looks like a secret: {}",
                        suspicion.reason()
                    ))
                    .at(spans.value(&child("/settings/env", variable.as_str())), "here")
                    .help(format!(
                        "refer to it instead: `profile set PROFILE secret {variable} environment:{variable}`"
                    )),
            );
        }
    }
    // Anything else that is text, whatever it was meant for.
    let Ok(value) = serde_json::to_value(profile) else { return };
    texts("", &value, &mut |at, text| {
        if !at.starts_with("/settings/env/") && (has_key_format(text) || url_password(text).is_some()) {
            found.push(
                rules::PLAIN_SECRET
                    .diagnostic(format!("{} looks like a secret", crate::manifest::shape::named(at)))
                    .at(spans.value(at), "here")
                    .help("a profile holds no secret; refer to it with `profile set PROFILE secret …`"),
            );
        }
    });
}

fn texts(at: &str, value: &Value, see: &mut dyn FnMut(&str, &str)) {
    match value {
        Value::String(text) => see(at, text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                texts(&child(at, &index.to_string()), item, see);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                texts(&child(at, key), item, see);
            }
        }
        _ => {}
    }
}

/// A path that means the same from any folder, given the folder that a relative one starts at.
pub(super) fn absolute(path: &Path, folder: &Path) -> std::path::PathBuf {
    let joined = folder.join(path);
    joined.components().fold(std::path::PathBuf::new(), |mut path, part| {
        match part {
            std::path::Component::ParentDir => {
                path.pop();
            }
            std::path::Component::CurDir => {}
            other => path.push(other),
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::profile;
    use super::*;

    #[test]
    fn a_secret_is_found_wherever_it_stands_and_never_repeated() {
        let canary = "sk_live_0123456789abcdef";
        let mut a = profile();
        a.settings.env.insert("DB_PASSWORD".parse().unwrap(), canary.to_owned());
        let mut b = profile();
        b.settings.region = Some(canary.to_owned());
        let mut c = profile();
        c.values.push(format!("https://u:{canary}@host/x").into());
        for bad in [a, b, c] {
            let found = check(&bad);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].code, rules::PLAIN_SECRET);
            assert!(!format!("{found:?}").contains(canary));
        }
        let mut good = profile();
        good.settings.env.insert("LOG_LEVEL".parse().unwrap(), "info".to_owned());
        assert!(check(&good).is_empty());
    }

    #[test]
    fn host_names_and_words() {
        for good in ["shop.example.com", "a", "10.0.0.1", "::1", "x-1.y"] {
            assert!(is_host_name(good), "{good}");
        }
        for bad in ["", "a b", "-a.b", "a..b", "http://a", "a/b", "a.b."] {
            assert!(!is_host_name(bad), "{bad}");
        }
        assert!(is_word("s-2vcpu-4gb") && is_word("db.t4g.micro") && !is_word("a b") && !is_word("-a"));
    }
}
