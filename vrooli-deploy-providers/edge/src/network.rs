//! A range of addresses, as `10.0.0.0/8` says it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Text that is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a range of addresses: write one such as `10.0.0.0/8`, `fd00::/8` or `192.0.2.7`")]
pub struct NetworkError {
    /// The text that was given, shortened to 64 characters.
    pub given: String,
}

/// A range of addresses: an address, and how many of its leading bits all of the range share.
/// An address alone is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether an address lies in it. An IPv4 address that is written as one of IPv6 counts as
    /// what it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        fn same(one: &[u8], other: &[u8], bits: u8) -> bool {
            let (whole, rest) = (usize::from(bits / 8), bits % 8);
            let mask = !(0xff_u8.checked_shr(rest.into()).unwrap_or(0));
            one[..whole] == other[..whole] && (rest == 0 || (one[whole] ^ other[whole]) & mask == 0)
        }
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => same(&first.octets(), &address.octets(), self.bits),
            (IpAddr::V6(first), IpAddr::V6(address)) => same(&first.octets(), &address.octets(), self.bits),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let plain = |bits: &&str| !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let read = || {
            let first: IpAddr = address.parse().ok()?;
            let most = if first.is_ipv4() { 32 } else { 128 };
            let bits = match bits {
                Some(bits) => Some(bits).filter(plain)?.parse().ok()?,
                None => most,
            };
            (bits <= most).then_some(Self { first, bits })
        };
        read().ok_or_else(|| NetworkError { given: text.chars().take(64).collect() })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.first, self.bits)
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;
    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_shares_its_bits() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3/31", "10.1.2.2", "10.1.2.4"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("172.16.0.0/12", "172.31.255.255", "172.32.0.0"),
            ("fd00::/9", "fd7f::1", "fd80::1"),
            ("::1", "::1", "::2"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1"),
            ("0.0.0.0/0", "8.8.8.8", "2001:db8::1"),
        ] {
            let read: Network = network.parse().unwrap();
            assert!(read.contains(inside.parse().unwrap()), "{inside} in {network}");
            assert!(!read.contains(outside.parse().unwrap()), "{outside} in {network}");
            assert_eq!(read.to_string().parse::<Network>().unwrap(), read);
        }
        for bad in
            ["", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0/", "10.0.0/8", "fd00::/129", "a/8", "10.0.0.0/8/8"]
        {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
