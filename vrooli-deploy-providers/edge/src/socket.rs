//! Lines and descriptors over a Unix socket, and sockets in folders with long paths.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};

use crate::error::{EdgeError, Trying as _};
use crate::lines::LineBuffer;
use crate::protocol::{Greeting, MAX_LINE, PROTOCOL};
use crate::state::open_folder;

/// Descriptors taken in with one read at most; we send one a line.
const DESCRIPTORS: usize = 8;
const CHUNK: usize = 16 << 10;

/// The receiving half of a link.
pub(crate) struct LineReader {
    stream: Arc<UnixStream>,
    lines: LineBuffer,
    descriptors: VecDeque<OwnedFd>,
}

/// The sending half of a link.
#[derive(Clone)]
pub(crate) struct LineWriter {
    stream: Arc<UnixStream>,
}

pub(crate) fn split(stream: UnixStream) -> (LineReader, LineWriter) {
    let stream = Arc::new(stream);
    (
        LineReader { stream: stream.clone(), lines: LineBuffer::default(), descriptors: VecDeque::new() },
        LineWriter { stream },
    )
}

impl LineReader {
    /// The next line without its newline, or none at the end of the link.
    pub(crate) async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = self.lines.next()? {
                return Ok(Some(line));
            }
            if self.fill().await? == 0 {
                return if self.lines.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// The next message, or none at the end of the link.
    pub(crate) async fn message<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        match self.line().await? {
            Some(line) => Ok(Some(serde_json::from_slice(&line)?)),
            None => Ok(None),
        }
    }

    /// The descriptor that came with the last message.
    pub(crate) fn descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    async fn fill(&mut self) -> io::Result<usize> {
        loop {
            self.stream.readable().await?;
            let Self { stream, lines, descriptors } = self;
            let received = stream.try_io(Interest::READABLE, || receive(stream.as_fd(), lines, descriptors));
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A peer that was killed may reset; for a reader that is the end as well.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(0),
                other => return other,
            }
        }
    }
}

fn receive(
    socket: BorrowedFd<'_>,
    lines: &mut LineBuffer,
    descriptors: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let mut chunk = [0_u8; CHUNK];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    #[cfg(target_os = "linux")]
    let flags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = RecvFlags::empty();
    let received = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut chunk)], &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            for descriptor in rights {
                #[cfg(not(target_os = "linux"))]
                rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
                descriptors.push_back(descriptor);
            }
        }
    }
    lines.push(&chunk[..received.bytes]);
    Ok(received.bytes)
}

/// A message as a line.
///
/// # Errors
/// `InvalidInput` when it is too long to be sent.
pub(crate) fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    if line.len() > MAX_LINE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a message of {} bytes is over the limit of {MAX_LINE}", line.len()),
        ));
    }
    line.push(b'\n');
    Ok(line)
}

impl LineWriter {
    /// Sends one message, with a descriptor if there is one. Not to be cancelled half way, and
    /// not to be called by two tasks at once.
    pub(crate) async fn message<T: Serialize>(
        &self,
        message: &T,
        descriptor: Option<&OwnedFd>,
    ) -> io::Result<()> {
        self.line(&encode(message)?, descriptor).await
    }

    /// As [`LineWriter::message`], of what [`encode`] made.
    pub(crate) async fn line(&self, line: &[u8], descriptor: Option<&OwnedFd>) -> io::Result<()> {
        let mut rest = line;
        let mut descriptor = descriptor.map(AsFd::as_fd);
        while !rest.is_empty() {
            self.stream.writable().await?;
            let sent = self.stream.try_io(Interest::WRITABLE, || send(self.stream.as_fd(), rest, descriptor));
            match sent {
                Ok(sent) => {
                    // The descriptor goes with the first byte.
                    descriptor = None;
                    rest = &rest[sent..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ends the link for both sides, whoever else holds a copy of its descriptor.
    pub(crate) fn shut_down(&self) {
        // Already ended is as good.
        let _ = rustix::net::shutdown(&*self.stream, rustix::net::Shutdown::Both);
    }
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors;
    if let Some(descriptor) = descriptor {
        descriptors = [descriptor];
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("no room for a descriptor"));
        }
    }
    #[cfg(target_os = "linux")]
    let flags = SendFlags::NOSIGNAL;
    #[cfg(not(target_os = "linux"))]
    let flags = SendFlags::empty();
    Ok(rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)?)
}

/// Reads the other side's greeting. Whoever calls decides what a version means.
pub(crate) async fn read_greeting(reader: &mut LineReader) -> Result<Greeting, EdgeError> {
    let protocol = |reason: String| EdgeError::Protocol { reason };
    let greeting: Greeting = match reader.message().await {
        Ok(Some(greeting)) => greeting,
        Ok(None) => return Err(EdgeError::Closed),
        Err(error) => return Err(protocol(error.to_string())),
    };
    if greeting.protocol == PROTOCOL {
        Ok(greeting)
    } else {
        Err(protocol(format!("it says {:?}", greeting.protocol)))
    }
}

/// A folder's path that is short enough for a socket's address whatever its length.
fn short_path(folder: &OwnedFd, path: &Path, name: &str) -> PathBuf {
    if cfg!(target_os = "linux") {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
    } else {
        path.join(name)
    }
}

/// A listening socket with a name in a folder. The name goes away with it.
#[derive(Debug)]
pub(crate) struct NamedSocket {
    listener: UnixListener,
    folder: OwnedFd,
    name: &'static str,
    identity: (u64, u64),
}

impl NamedSocket {
    /// Binds under a name, in place of whatever a dead edge left there.
    pub(crate) fn bind(folder: &Path, name: &'static str) -> Result<Self, EdgeError> {
        let descriptor = open_folder(folder).trying("open the folder for the edge's sockets")?;
        let temporary = format!(".{name}.{}", std::process::id());
        let bound = Self::bind_at(&descriptor, folder, &temporary, name);
        if bound.is_err() {
            let _ = rustix::fs::unlinkat(&descriptor, &temporary, AtFlags::empty());
        }
        let (listener, identity) = bound.trying("bind one of the edge's sockets")?;
        Ok(Self { listener, folder: descriptor, name, identity })
    }

    fn bind_at(
        descriptor: &OwnedFd,
        folder: &Path,
        temporary: &str,
        name: &str,
    ) -> io::Result<(UnixListener, (u64, u64))> {
        let _ = rustix::fs::unlinkat(descriptor, temporary, AtFlags::empty());
        let listener = UnixListener::bind(short_path(descriptor, folder, temporary))?;
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::chmodat(descriptor, temporary, mode, AtFlags::empty())?;
        rustix::fs::renameat(descriptor, temporary, descriptor, name)?;
        Ok((listener, identity(descriptor, name)?))
    }

    /// Accepts from a process of our own user, or of root; closes others unanswered.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let peer = stream.peer_cred()?.uid();
            if peer == 0 || peer == rustix::process::geteuid().as_raw() {
                return Ok(stream);
            }
            tracing::warn!(uid = peer, "refused another user at the edge's socket");
        }
    }
}

impl Drop for NamedSocket {
    fn drop(&mut self) {
        // A successor may have put its own socket there.
        if identity(&self.folder, self.name).is_ok_and(|have| have == self.identity) {
            let _ = rustix::fs::unlinkat(&self.folder, self.name, AtFlags::empty());
        }
    }
}

fn identity(folder: &OwnedFd, name: &str) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)] // the width differs by system
    Ok((stat.st_dev as u64, stat.st_ino as u64))
}

/// Connects to a socket in a folder. None when nobody listens there.
pub(crate) async fn connect(folder: &Path, name: &str) -> Result<Option<UnixStream>, EdgeError> {
    const WHAT: &str = "connect to the edge's socket";
    let descriptor = match open_folder(folder) {
        Ok(descriptor) => descriptor,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).trying("open the folder of the edge's sockets"),
    };
    let stream = match UnixStream::connect(short_path(&descriptor, folder, name)).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error).trying(WHAT),
    };
    let peer = stream.peer_cred().trying(WHAT)?.uid();
    let me = rustix::process::geteuid();
    // Root has given the edge a user of its own, and nobody else may write to that folder.
    if peer != 0 && peer != me.as_raw() && !me.is_root() {
        return Err(EdgeError::Protocol { reason: format!("the socket belongs to user {peer}") });
    }
    Ok(Some(stream))
}
