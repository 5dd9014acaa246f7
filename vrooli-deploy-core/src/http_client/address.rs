use std::fmt;

use http::Uri;

/// Where a server is: scheme, host, port and what stands before every path. Shown without
/// anything that could be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    prefix: String,
}

impl Address {
    /// Reads `http://host:port` or `https://…`, with a path if what is asked lies under one.
    ///
    /// # Errors
    /// What is wrong with it, for a person. A user or a password is refused and not repeated.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = |message: &str| Err(message.to_owned());
        if text.contains('@') {
            // Not repeated: it may be a password.
            return refuse("it holds a user or a password");
        }
        let Ok(uri) = text.trim().parse::<Uri>() else {
            return Err(format!("`{}` is no address", shown(text)));
        };
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(format!("`{}` begins with neither `http://` nor `https://`", shown(text))),
        };
        let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
            return Err(format!("`{}` names no host", shown(text)));
        };
        if uri.query().is_some() {
            return refuse("it holds a query");
        }
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { tls, host: host.trim_matches(['[', ']']).to_owned(), port, prefix })
    }

    /// The same without `end` at the end of its path: people copy it from examples.
    #[must_use]
    pub fn without_end(mut self, end: &str) -> Self {
        self.prefix = self.prefix.trim_end_matches(end).to_owned();
        self
    }

    /// What stands before every path, without a slash at its end.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// For the `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Is it `https`?
    #[must_use]
    pub const fn needs_tls(&self) -> bool {
        self.tls
    }

    /// Does what is said to it pass over a network that others can listen to?
    #[must_use]
    pub fn is_plain_over_the_network(&self) -> bool {
        let loopback = self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        !self.tls && !loopback
    }
}

/// A short text on one line.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, shown, plain) in [
            ("http://127.0.0.1:8200", "http://127.0.0.1:8200", false),
            ("http://localhost:8200/", "http://localhost:8200", false),
            ("http://[::1]:8200", "http://[::1]:8200", false),
            ("http://127.0.0.1.evil.example", "http://127.0.0.1.evil.example:80", true),
            ("http://vault.example:8200/v1/", "http://vault.example:8200", true),
            ("https://vault.example/proxy/v1", "https://vault.example:443/proxy", false),
        ] {
            let address = Address::parse(text).unwrap().without_end("/v1");
            assert_eq!(address.to_string(), shown);
            assert_eq!(address.is_plain_over_the_network(), plain, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_passwords_are_not_repeated() {
        for text in [
            "",
            "vault:8200",
            "ftp://x",
            "http://",
            "http://x?token=canary1",
            "http://u:canary1@h",
            "http://a b",
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(!error.contains("canary1"), "{error}");
        }
    }
}
