//! The key of the secret store where it lies in no file: given by whoever deploys, held in
//! memory, and passed on by pipe and socket alone. It is in no environment and no argument of
//! a process of ours, and on its way it is bytes, never part of a message.

use std::fmt::Write as _;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use vrooli_deploy_core::secrets::Secret;

/// No key is longer, in bytes.
const LIMIT: usize = 4096;

/// A key.
#[derive(Debug, Clone)]
pub(crate) struct StoreKey(Secret<String>);

/// What a new supervisor is told on its standard input: this line, then the key's bytes.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Header {
    /// Bytes of the key that follow; 0: none was given.
    key: usize,
    /// Is there a predecessor that is to step down?
    replaces: bool,
}

/// What a new supervisor begins with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Legacy {
    pub(crate) key: Option<StoreKey>,
    pub(crate) replaces: bool,
}

impl StoreKey {
    pub(crate) fn new(key: Secret<String>) -> Self {
        Self(key)
    }

    pub(crate) fn secret(&self) -> &Secret<String> {
        &self.0
    }

    /// Tells keys apart and says nothing about them.
    pub(crate) fn mark(&self) -> String {
        let hash = Sha256::new()
            .chain_update(b"vrooli-deploy store key")
            .chain_update(self.0.expose().as_bytes())
            .finalize();
        hash.iter().take(8).fold(String::new(), |mut mark, byte| {
            // Writing to a String cannot fail.
            let _ = write!(mark, "{byte:02x}");
            mark
        })
    }

    /// How many bytes it is.
    pub(crate) fn length(&self) -> usize {
        self.0.expose().len()
    }

    pub(crate) async fn send(&self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        to.write_all(self.0.expose().as_bytes()).await?;
        to.flush().await
    }

    pub(crate) async fn receive(from: &mut (impl AsyncRead + Unpin), length: usize) -> io::Result<Self> {
        let mut bytes = buffer(length)?;
        let read = from.read_exact(&mut bytes).await;
        // Wiped also when only a part of it came.
        let bytes = Secret::new(bytes);
        read?;
        Self::read(&bytes)
    }

    fn read(bytes: &Secret<Vec<u8>>) -> io::Result<Self> {
        let text = std::str::from_utf8(bytes.expose()).map_err(|_| broken())?;
        Ok(Self(Secret::new(text.to_owned())))
    }
}

impl Legacy {
    pub(crate) fn write_to(&self, mut to: impl Write) -> io::Result<()> {
        let key = self.key.as_ref().map_or(0, StoreKey::length);
        let mut line = serde_json::to_vec(&Header { key, replaces: self.replaces })?;
        line.push(b'\n');
        to.write_all(&line)?;
        if let Some(key) = &self.key {
            to.write_all(key.0.expose().as_bytes())?;
        }
        to.flush()
    }

    /// Reads it to the end. Nothing at all is nothing; half of it, from a writer that was
    /// killed, is an error.
    pub(crate) fn read_from(from: impl Read) -> io::Result<Self> {
        let mut bytes = Vec::with_capacity(LIMIT);
        let read = from.take(LIMIT as u64).read_to_end(&mut bytes);
        let bytes = Secret::new(bytes);
        read?;
        if bytes.expose().is_empty() {
            return Ok(Self::default());
        }
        let end = bytes.expose().iter().position(|b| *b == b'\n').ok_or_else(broken)?;
        let (line, rest) = bytes.expose().split_at(end);
        let header: Header = serde_json::from_slice(line).map_err(|_| broken())?;
        let rest = rest.get(1..).filter(|rest| rest.len() == header.key).ok_or_else(broken)?;
        let key = match rest {
            [] => None,
            key => Some(StoreKey::read(&Secret::new(key.to_vec()))?),
        };
        Ok(Self { key, replaces: header.replaces })
    }
}

/// The key in what a parent of ours wrote to the end of its pipe, if it had one.
pub(crate) fn given_key(from: impl Read) -> io::Result<Option<Secret<String>>> {
    Ok(Legacy::read_from(from)?.key.map(|key| key.0))
}

fn buffer(length: usize) -> io::Result<Vec<u8>> {
    if length == 0 || length > LIMIT { Err(broken()) } else { Ok(vec![0; length]) }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "this is no whole key")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> StoreKey {
        StoreKey::new(Secret::new(text.to_owned()))
    }

    #[test]
    fn a_legacy_is_read_as_it_was_written_and_never_by_half() {
        let mut bytes = Vec::new();
        Legacy { key: Some(key("key-of-the-store")), replaces: true }.write_to(&mut bytes).unwrap();
        let read = Legacy::read_from(&bytes[..]).unwrap();
        assert_eq!(read.key.unwrap().secret().expose(), "key-of-the-store");
        assert!(read.replaces);
        for cut in 1..bytes.len() {
            assert!(Legacy::read_from(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(Legacy::read_from(&b""[..]).unwrap().key.is_none());
        let mut bytes = Vec::new();
        Legacy::default().write_to(&mut bytes).unwrap();
        assert!(Legacy::read_from(&bytes[..]).unwrap().key.is_none());
    }

    #[test]
    fn a_key_goes_over_a_stream_and_is_never_shown() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut bytes = Vec::new();
            key("abc").send(&mut bytes).await.unwrap();
            assert_eq!(bytes, b"abc");
            assert_eq!(StoreKey::receive(&mut &bytes[..], 3).await.unwrap().secret().expose(), "abc");
            assert!(StoreKey::receive(&mut &bytes[..], 4).await.is_err());
            assert!(StoreKey::receive(&mut &bytes[..], 0).await.is_err());
            assert!(StoreKey::receive(&mut &bytes[..], usize::MAX).await.is_err());
        });
        assert!(!format!("{:?}", key("abc")).contains("abc"));
        assert_ne!(key("abc").mark(), key("abd").mark());
        assert_eq!(key("abc").mark().len(), 16);
    }
}
