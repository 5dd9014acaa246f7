//! The files that an engine is given, as a tar archive that is made while it is sent.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;

use crate::build::hashes::Hash;
use crate::build::select::{Entry, EntryKind};

/// Bytes of one part.
const PART: usize = 256 * 1024;
/// Parts that wait to be sent.
const WAITING: usize = 4;

/// What is sent.
#[derive(Debug, Clone)]
pub(super) struct Context {
    /// The folder that paths are relative to.
    pub(super) folder: PathBuf,
    pub(super) entries: Arc<Vec<(Entry, Option<Hash>)>>,
    /// A file that lies in no folder: its name and text.
    pub(super) written: Option<(String, String)>,
}

impl Context {
    /// The archive. Nobody's accounts are in it; files are readable by all, because another account runs
    /// what is made of them.
    pub(super) fn tar(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::task::spawn_blocking(move || {
            let mut sink = Sink { sender: sender.clone(), part: Vec::with_capacity(PART) };
            // Nobody waits for parts any more: then there is nobody to tell.
            if let Err(error) = self.write(&mut sink).and_then(|()| sink.flush()) {
                let _ = sender.blocking_send(Err(error));
            }
        });
        futures_util::stream::unfold(receiver, |mut receiver| async move {
            let part = receiver.recv().await?;
            Some((part, receiver))
        })
    }

    fn write(&self, sink: &mut Sink) -> io::Result<()> {
        let mut archive = Builder::new(sink);
        let header = |kind: EntryType, mode: u32, size: u64, seconds: u64| {
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_size(size);
            header.set_mtime(seconds);
            header.set_uid(0);
            header.set_gid(0);
            header
        };
        for (entry, _) in self.entries.iter() {
            let path = self.folder.join(&entry.path);
            let seconds = u64::try_from(entry.stamp.modified / 1_000_000_000).unwrap_or(0);
            match &entry.kind {
                EntryKind::Folder => {
                    let mut header = header(EntryType::Directory, 0o755, 0, seconds);
                    archive.append_data(&mut header, &entry.path, io::empty())?;
                }
                EntryKind::Link { target } => {
                    let mut header = header(EntryType::Symlink, 0o777, 0, seconds);
                    archive.append_link(&mut header, &entry.path, target)?;
                }
                EntryKind::File { executable } => {
                    let mode = if *executable { 0o755 } else { 0o644 };
                    let mut header = header(EntryType::Regular, mode, entry.stamp.size, seconds);
                    let file = io::Read::take(File::open(&path)?, entry.stamp.size);
                    let mut counted = Counted { inner: file, left: entry.stamp.size };
                    archive.append_data(&mut header, &entry.path, &mut counted)?;
                    if counted.left > 0 {
                        return Err(io::Error::other(format!("`{}` became shorter", path.display())));
                    }
                }
            }
        }
        if let Some((name, text)) = &self.written {
            let mut header = header(EntryType::Regular, 0o644, text.len() as u64, 0);
            archive.append_data(&mut header, name, text.as_bytes())?;
        }
        archive.finish()
    }
}

struct Counted<R> {
    inner: R,
    left: u64,
}

impl<R: io::Read> io::Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(length as u64);
        Ok(length)
    }
}

/// Gives what is written on in parts.
struct Sink {
    sender: mpsc::Sender<io::Result<Bytes>>,
    part: Vec<u8>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.extend_from_slice(bytes);
        if self.part.len() >= PART {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.part.is_empty() {
            return Ok(());
        }
        let part = std::mem::replace(&mut self.part, Vec::with_capacity(PART));
        self.sender
            .blocking_send(Ok(Bytes::from(part)))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes the archive any more"))
    }
}
