//! What is to be on the host, as it is written by who sends it.

use std::collections::BTreeSet;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vrooli_deploy_core::names::{ReleaseNumber, StackId};

use super::{CUT, Failure, Result};
use crate::store::stored_file::digest_of;
use crate::store::{AccountName, ImageId};

/// No description is longer, in bytes: one of a million pieces.
const LONGEST: u64 = 128 << 20;

/// What is to be there.
#[derive(Debug, Clone)]
pub(super) struct Input {
    pub(super) stack: StackId,
    /// What it is called.
    pub(super) name: String,
    /// What its content is known by.
    pub(super) digest: String,
    /// In bytes, put together.
    pub(super) size: u64,
    pub(super) entries: u64,
    /// So many of what is needed for nothing stay.
    pub(super) keep: usize,
    pub(super) kept_free_kib: u64,
    pub(super) kind: Kind,
    pub(super) needed: BTreeSet<String>,
    /// In their order, with their lengths.
    pub(super) pieces: Vec<(String, u64)>,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Tree { release: ReleaseNumber, record: Vec<u8>, owner: Option<AccountName> },
    Image(ImageId),
}

impl Input {
    /// All that is sent.
    pub(super) fn read_all(from: &mut dyn Read) -> Result<Self> {
        let mut text = String::new();
        from.take(LONGEST).read_to_string(&mut text)?;
        Self::parse(&text)
    }

    /// What is sent first, by its length, where pieces follow.
    pub(super) fn read_head(from: &mut dyn Read) -> Result<Self> {
        // Byte by byte: what follows is not ours to read. Standard input is buffered.
        let (mut length, mut byte) = (String::new(), [0]);
        while length.len() < 20 && from.read(&mut byte)? == 1 && byte != *b"\n" {
            length.push(char::from(byte[0]));
        }
        let length: u64 = length
            .parse()
            .ok()
            .filter(|length| *length < LONGEST)
            .ok_or_else(|| misread("length", &length))?;
        let mut text = String::new();
        if from.take(length).read_to_string(&mut text)? as u64 != length {
            return Err(Failure::new(CUT, "what is to be there was cut off"));
        }
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let (mut all, mut needed, mut pieces) =
            (std::collections::BTreeMap::new(), BTreeSet::new(), Vec::new());
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "needed" => {
                    needed.insert(rest.to_owned());
                }
                "piece" => {
                    let piece = rest.split_once(' ').and_then(|(digest, length)| {
                        Some((is_digest(digest).then(|| digest.to_owned())?, length.parse().ok()?))
                    });
                    pieces.push(piece.ok_or_else(|| misread("piece", rest))?);
                }
                _ => {
                    all.insert(word, rest);
                }
            }
        }
        let word = |name: &str| all.get(name).copied().ok_or_else(|| misread(name, "nothing"));
        let number = |name: &str| word(name).and_then(|text| text.parse().map_err(|_| misread(name, text)));
        let digest = |name: &str| {
            word(name)
                .and_then(|text| if is_digest(text) { Ok(text.to_owned()) } else { Err(misread(name, text)) })
        };
        let stack = word("stack")?;
        let parsed = stack.split_once('/').and_then(|(app, environment)| {
            Some(StackId { app: app.parse().ok()?, environment: environment.parse().ok()? })
        });
        let kind = match word("kind")? {
            "tree" => Kind::Tree {
                release: word("release")?.parse().map_err(|_| misread("release", ""))?,
                record: STANDARD.decode(word("record")?).map_err(|_| misread("record", ""))?,
                owner: match all.get("owner") {
                    Some(owner) => {
                        Some(AccountName::new(*owner).map_err(|error| misread("owner", &error.0))?)
                    }
                    None => None,
                },
            },
            "image" => Kind::Image(ImageId::new(word("image")?).map_err(|error| misread("image", &error.0))?),
            other => return Err(misread("kind", other)),
        };
        Ok(Self {
            stack: parsed.ok_or_else(|| misread("stack", stack))?,
            name: digest("name")?,
            digest: digest_of(pieces.iter().map(|(name, _): &(String, u64)| name.as_str())),
            size: number("size")?,
            entries: number("entries")?,
            keep: usize::try_from(number("keep")?).unwrap_or(usize::MAX),
            kept_free_kib: number("kept_free_kib")?,
            kind,
            needed,
            pieces,
        })
    }
}

fn misread(name: &str, text: &str) -> Failure {
    let text: String = text.chars().take(80).collect();
    Failure::new(64, format_args!("`{text}` cannot be used as `{name}`"))
}

/// The name of a piece: a SHA-256 in hexadecimal.
pub(super) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
