use std::fmt;

use http::Uri;

use super::FetchError;

/// Where Vault is. Shown without anything that could be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// What stands before `/v1`, without a slash at its end.
    pub(super) prefix: String,
}

impl Address {
    /// Reads `http://host:port` or `https://…`, with a path before `/v1` if there is a proxy.
    pub(super) fn parse(text: &str) -> Result<Self, FetchError> {
        let refuse = |message: &str| FetchError::Address { message: message.to_owned() };
        if text.contains('@') {
            // Not repeated: it may be a password.
            return Err(refuse("it holds a user or a password"));
        }
        let uri: Uri =
            text.trim().parse().map_err(|_| refuse(&format!("`{}` is no address", shown(text))))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => {
                return Err(refuse(&format!(
                    "`{}` begins with neither `http://` nor `https://`",
                    shown(text)
                )));
            }
        };
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| refuse(&format!("`{}` names no host", shown(text))))?;
        if uri.query().is_some() {
            return Err(refuse("it holds a query"));
        }
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let prefix = uri.path().trim_end_matches('/').trim_end_matches("/v1").to_owned();
        Ok(Self { tls, host: host.trim_matches(['[', ']']).to_owned(), port, prefix })
    }

    /// For the `Host` header.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Does what is said to it pass over a network that others can listen to?
    pub(super) fn is_plain_over_the_network(&self) -> bool {
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
            ("http://vault.example:8200/v1/", "http://vault.example:8200", true),
            ("https://vault.example/proxy/v1", "https://vault.example:443/proxy", false),
        ] {
            let address = Address::parse(text).unwrap();
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
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(!error.contains("canary1"), "{error}");
        }
    }
}
