//! Where a request came from: from the connection, or from what a proxy that is trusted says.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::headers::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, name_of};
use crate::network::Network;

/// Proxies in front of the edge whose word about a request's origin is taken. Without any,
/// what a request says of its own origin is thrown away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedProxies {
    /// Their addresses. Only what comes from one of them is believed, and of the hops it
    /// names the last one that is none of them is the client.
    pub networks: Vec<Network>,
    /// The header that they write. The other one could be anybody's, so it is not read.
    #[serde(default)]
    pub says: OriginHeader,
}

/// Which header says where a request came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OriginHeader {
    /// `X-Forwarded-For`, with `X-Forwarded-Proto` and `X-Forwarded-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Where a request came from.
#[derive(Debug, Clone)]
pub(crate) struct Origin<'a> {
    pub(crate) address: IpAddr,
    /// The address as `X-Forwarded-For` says it.
    pub(crate) client: Cow<'a, HeaderValue>,
    /// It left its client by TLS.
    pub(crate) secure: bool,
    /// The host that the client asked for, where that is not the one in the request.
    pub(crate) host: Option<HeaderValue>,
}

impl<'a> Origin<'a> {
    /// What the connection itself says.
    pub(crate) fn of_peer(peer: SocketAddr, client: &'a HeaderValue, secure: bool) -> Self {
        Self { address: peer.ip().to_canonical(), client: Cow::Borrowed(client), secure, host: None }
    }

    /// What the proxy at the other end says, if it is a trusted one.
    pub(crate) fn believing(self, headers: &HeaderMap, trusted: &TrustedProxies) -> Self {
        if !trusted.has(self.address) {
            return self;
        }
        let said = match trusted.says {
            OriginHeader::XForwarded => trusted.x_forwarded(headers),
            OriginHeader::Forwarded => trusted.forwarded(headers),
        };
        let address = said.address.unwrap_or(self.address);
        let client = match said.address.map(|address| HeaderValue::from_str(&address.to_string())) {
            Some(Ok(client)) => Cow::Owned(client),
            _ => self.client,
        };
        Self { address, client, secure: said.secure.unwrap_or(self.secure), host: said.host }
    }
}

#[derive(Debug, Default)]
struct Said {
    address: Option<IpAddr>,
    secure: Option<bool>,
    host: Option<HeaderValue>,
}

impl TrustedProxies {
    fn has(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    fn x_forwarded(&self, headers: &HeaderMap) -> Said {
        let last = |name: HeaderName| last_of(headers, &name);
        let mut said = Said {
            secure: last(X_FORWARDED_PROTO).and_then(scheme),
            host: last(X_FORWARDED_HOST).and_then(host),
            ..Said::default()
        };
        for hop in from_the_right(headers, &X_FORWARDED_FOR) {
            // What lies before something that is no address was written by nobody we know.
            let Some(address) = node(hop) else { break };
            said.address = Some(address);
            if !self.has(address) {
                break;
            }
        }
        said
    }

    fn forwarded(&self, headers: &HeaderMap) -> Said {
        let mut said = Said::default();
        for element in from_the_right(headers, &header::FORWARDED) {
            let mut of_hop = Said::default();
            for (name, value) in element.split(';').filter_map(|pair| pair.trim().split_once('=')) {
                let value =
                    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
                if name.eq_ignore_ascii_case("for") {
                    of_hop.address = node(value);
                } else if name.eq_ignore_ascii_case("proto") {
                    of_hop.secure = scheme(value);
                } else if name.eq_ignore_ascii_case("host") {
                    of_hop.host = host(value);
                }
            }
            let Some(address) = of_hop.address else { break };
            said = of_hop;
            if !self.has(address) {
                break;
            }
        }
        said
    }
}

/// The members of a list that may lie in several fields, the last one first. Ends at a field
/// that is no text.
fn from_the_right<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .rev()
        .map_while(|value| value.to_str().ok())
        .flat_map(|value| value.rsplit(','))
        .map(str::trim)
}

fn last_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    from_the_right(headers, name).next()
}

/// An address, with or without a port; that of IPv6 may be in brackets.
fn node(text: &str) -> Option<IpAddr> {
    let address = if let Some(rest) = text.strip_prefix('[') {
        rest.split_once(']').filter(|(_, port)| is_port(port))?.0
    } else if let Some((address, port)) = text.split_once(':').filter(|(_, port)| !port.contains(':')) {
        let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        is_port.then_some(address)?
    } else {
        text
    };
    address.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// Nothing, or a colon and digits.
fn is_port(text: &str) -> bool {
    text.is_empty()
        || text
            .strip_prefix(':')
            .is_some_and(|port| !port.is_empty() && port.bytes().all(|one| one.is_ascii_digit()))
}

fn scheme(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("https") {
        Some(true)
    } else {
        text.eq_ignore_ascii_case("http").then_some(false)
    }
}

fn host(text: &str) -> Option<HeaderValue> {
    name_of(text)?;
    HeaderValue::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(says: OriginHeader, peer: &str, headers: &[(&str, &str)]) -> (String, bool, Option<String>) {
        let trusted = TrustedProxies {
            networks: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            says,
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let peer = SocketAddr::new(peer.parse().unwrap(), 1);
        let client = HeaderValue::from_str(&peer.ip().to_string()).unwrap();
        let origin = Origin::of_peer(peer, &client, false).believing(&map, &trusted);
        assert_eq!(origin.client.to_str().unwrap(), origin.address.to_string());
        let host = origin.host.map(|host| host.to_str().unwrap().to_owned());
        (origin.address.to_string(), origin.secure, host)
    }

    fn address(says: OriginHeader, peer: &str, header: &str) -> String {
        let name = if says == OriginHeader::Forwarded { "forwarded" } else { "x-forwarded-for" };
        said(says, peer, &[(name, header)]).0
    }

    #[test]
    fn the_last_hop_that_is_not_trusted_is_the_client() {
        let address = |peer: &str, header: &str| address(OriginHeader::XForwarded, peer, header);
        for (peer, header, expected) in [
            // Nobody we trust: whatever it says.
            ("9.9.9.9", "1.2.3.4", "9.9.9.9"),
            ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
            // What the client put in front is not looked at.
            ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
            ("10.0.0.1", "10.0.0.9, 1.2.3.4", "1.2.3.4"),
            // Through two of ours.
            ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
            ("fd00::1", "2001:db8::7 , fd00::2", "2001:db8::7"),
            // Only ours: the first of them asks for itself.
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            // With ports, and as IPv6 says IPv4.
            ("10.0.0.1", "1.2.3.4:55", "1.2.3.4"),
            ("10.0.0.1", "[2001:db8::7]:55", "2001:db8::7"),
            ("10.0.0.1", "::ffff:1.2.3.4", "1.2.3.4"),
            ("::ffff:10.0.0.1", "1.2.3.4", "1.2.3.4"),
            // What is no address ends it.
            ("10.0.0.1", "1.2.3.4, unknown", "10.0.0.1"),
            ("10.0.0.1", "1.2.3.4, x, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", "1.2.3.4:", "10.0.0.1"),
            ("10.0.0.1", "[1.2.3.4]x", "10.0.0.1"),
            ("10.0.0.1", "", "10.0.0.1"),
        ] {
            assert_eq!(address(peer, header), expected, "{peer} says {header:?}");
        }
    }

    #[test]
    fn forwarded_is_read_in_its_own_form() {
        let address = |header: &str| address(OriginHeader::Forwarded, "10.0.0.1", header);
        assert_eq!(address("for=1.2.3.4;proto=https"), "1.2.3.4");
        assert_eq!(address("For=6.6.6.6, for=\"[2001:db8::7]:55\" ; by=10.0.0.1"), "2001:db8::7");
        assert_eq!(address("for=1.2.3.4, for=_hidden"), "10.0.0.1");
        assert_eq!(address("proto=https"), "10.0.0.1");
        let both = said(
            OriginHeader::Forwarded,
            "10.0.0.1",
            &[
                ("forwarded", "for=6.6.6.6;proto=http;host=evil.test"),
                ("forwarded", "for=1.2.3.4;proto=https;host=a.test, for=10.0.0.2;proto=http"),
                ("x-forwarded-for", "6.6.6.6"),
            ],
        );
        assert_eq!(both, ("1.2.3.4".into(), true, Some("a.test".into())));
    }

    #[test]
    fn the_other_header_and_other_hosts_are_nobodys_word() {
        let both = [
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "http, https"),
            ("x-forwarded-host", "evil.test, a.test:8443"),
            ("forwarded", "for=6.6.6.6;proto=http;host=evil.test"),
        ];
        let origin = said(OriginHeader::XForwarded, "10.0.0.1", &both);
        assert_eq!(origin, ("1.2.3.4".into(), true, Some("a.test:8443".into())));
        let origin = said(OriginHeader::XForwarded, "9.9.9.9", &both);
        assert_eq!(origin, ("9.9.9.9".into(), false, None));
        let odd = [("x-forwarded-proto", "ftp"), ("x-forwarded-host", "a b")];
        assert_eq!(said(OriginHeader::XForwarded, "10.0.0.1", &odd), ("10.0.0.1".into(), false, None));
    }
}
