//! One line of JSON for each request, or for each so-manieth.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use http::{HeaderValue, Method, Request, Version};
use serde::Serialize;

use crate::options::AccessLogOptions;

/// Lines are written together: when there are so many bytes, or with the next tick.
const BATCH: usize = 32 << 10;

/// The file, shared by all workers.
#[derive(Debug)]
pub(crate) struct AccessLog {
    path: PathBuf,
    every: u32,
    max_bytes: u64,
    file: Mutex<Option<(File, u64)>>,
}

/// What one worker has not written yet.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    waiting: RefCell<Vec<u8>>,
    count: Cell<u32>,
}

/// What is known of a request when it comes.
#[derive(Debug)]
pub(crate) struct Asked {
    at: SystemTime,
    client: HeaderValue,
    method: Method,
    host: Option<String>,
    /// Without the query, which may hold what nobody else should see.
    path: String,
    version: Version,
    secure: bool,
}

/// How it ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Answered<'a> {
    pub(crate) site: Option<&'a str>,
    pub(crate) release: Option<&'a str>,
    pub(crate) status: Option<u16>,
    /// Body bytes sent to the client.
    pub(crate) bytes: u64,
    /// Until the answer began.
    pub(crate) first_us: Option<u64>,
    pub(crate) total_us: u64,
    pub(crate) failure: Option<&'a str>,
}

impl Asked {
    /// A proxy in front said whose request it is, and how it left its client.
    pub(crate) fn came_from(&mut self, client: HeaderValue, secure: bool) {
        (self.client, self.secure) = (client, secure);
    }
}

#[derive(Serialize)]
struct Line<'a> {
    /// Seconds since 1970, to the millisecond.
    ts: f64,
    client: &'a str,
    /// None, with path and protocol, when no request was understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    tls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<&'a str>,
    /// None when nothing was answered.
    status: Option<u16>,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_us: Option<u64>,
    total_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a str>,
}

impl AccessLog {
    pub(crate) fn open(options: &AccessLogOptions) -> io::Result<Self> {
        let log = Self {
            path: options.path.clone(),
            every: options.every.max(1),
            max_bytes: options.max_bytes,
            file: Mutex::new(None),
        };
        *log.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(append_to(&options.path)?);
        Ok(log)
    }

    /// What is to be remembered of a request; none when it is not one of those that are written.
    pub(crate) fn ask<B>(
        &self,
        lines: &Lines,
        request: &Request<B>,
        client: &HeaderValue,
        secure: bool,
    ) -> Option<Box<Asked>> {
        let count = lines.count.get().wrapping_add(1);
        lines.count.set(count);
        if !count.is_multiple_of(self.every) {
            return None;
        }
        let uri = request.uri();
        let named = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
        Some(Box::new(Asked {
            at: SystemTime::now(),
            client: client.clone(),
            method: request.method().clone(),
            host: uri.authority().map(http::uri::Authority::as_str).or(named).map(str::to_owned),
            path: uri.path().to_owned(),
            version: request.version(),
            secure,
        }))
    }

    pub(crate) fn answer(&self, lines: &Lines, asked: &Asked, answered: Answered<'_>) {
        let line = Line {
            ts: seconds(asked.at),
            client: asked.client.to_str().unwrap_or("unknown"),
            method: Some(asked.method.as_str()),
            host: asked.host.as_deref(),
            path: Some(&asked.path),
            protocol: Some(match asked.version {
                Version::HTTP_2 => "HTTP/2",
                Version::HTTP_10 => "HTTP/1.0",
                _ => "HTTP/1.1",
            }),
            tls: asked.secure,
            site: answered.site,
            release: answered.release,
            status: answered.status,
            bytes: answered.bytes,
            first_us: answered.first_us,
            total_us: answered.total_us,
            failure: answered.failure,
        };
        self.add(lines, &line);
    }

    /// A connection was ended before a request on it was understood. Always written: there is
    /// no request of which a share could be taken.
    pub(crate) fn not_understood(&self, lines: &Lines, client: &HeaderValue, secure: bool, failure: &str) {
        let line = Line {
            ts: seconds(SystemTime::now()),
            client: client.to_str().unwrap_or("unknown"),
            method: None,
            host: None,
            path: None,
            protocol: None,
            tls: secure,
            site: None,
            release: None,
            status: None,
            bytes: 0,
            first_us: None,
            total_us: 0,
            failure: Some(failure),
        };
        self.add(lines, &line);
    }

    fn add(&self, lines: &Lines, line: &Line<'_>) {
        let mut waiting = lines.waiting.borrow_mut();
        // Strings and numbers into memory: neither can fail.
        let _ = serde_json::to_writer(&mut *waiting, line);
        waiting.push(b'\n');
        if waiting.len() >= BATCH {
            self.write(&mut waiting);
        }
    }

    /// Writes what waits.
    pub(crate) fn flush(&self, lines: &Lines) {
        let mut waiting = lines.waiting.borrow_mut();
        if !waiting.is_empty() {
            self.write(&mut waiting);
        }
    }

    fn write(&self, waiting: &mut Vec<u8>) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.append(&mut file, waiting) {
            // Serving matters more than the log: what cannot be written is lost, and said.
            tracing::warn!(%error, path = %self.path.display(), bytes = waiting.len(), "the access log");
            *file = None;
        }
        waiting.clear();
    }

    fn append(&self, file: &mut Option<(File, u64)>, waiting: &[u8]) -> io::Result<()> {
        if file.as_ref().is_some_and(|(_, size)| *size >= self.max_bytes) {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&self.path, old)?;
            *file = None;
        }
        let (file, size) = match file {
            Some(open) => open,
            None => file.insert(append_to(&self.path)?),
        };
        file.write_all(waiting)?;
        *size += waiting.len() as u64;
        Ok(())
    }
}

/// Since 1970, to the millisecond.
#[allow(clippy::cast_precision_loss, reason = "milliseconds of any date that can be")]
fn seconds(at: SystemTime) -> f64 {
    crate::millis::of(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()) as f64 / 1_000.0
}

fn append_to(path: &Path) -> io::Result<(File, u64)> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(folder: &Path, every: u32, max_bytes: u64) -> AccessLog {
        AccessLog::open(&AccessLogOptions { path: folder.join("access.log"), every, max_bytes }).unwrap()
    }

    fn write(log: &AccessLog, lines: &Lines, count: usize) {
        for _ in 0..count {
            let request = Request::get("/a?token=secret").header("host", "h.test").body(()).unwrap();
            let client = HeaderValue::from_static("127.0.0.1");
            if let Some(asked) = log.ask(lines, &request, &client, true) {
                log.answer(lines, &asked, Answered { status: Some(200), ..Answered::default() });
            }
        }
        log.flush(lines);
    }

    #[test]
    fn a_line_says_what_was_asked_without_its_query() {
        let folder = tempfile::tempdir().unwrap();
        write(&log(folder.path(), 1, 1 << 20), &Lines::default(), 1);
        let text = std::fs::read_to_string(folder.path().join("access.log")).unwrap();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&line["path"], &line["host"], &line["status"]),
            (&"/a".into(), &"h.test".into(), &200.into())
        );
        assert!(!text.contains("secret"), "{text}");
        assert!(line["ts"].as_f64().unwrap() > 1.7e9);
    }

    #[test]
    fn one_of_so_many_is_written_and_a_full_file_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        write(&log(folder.path(), 10, 1 << 20), &Lines::default(), 100);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 10);
        let small = log(folder.path(), 1, 100);
        for _ in 0..5 {
            write(&small, &Lines::default(), 1);
        }
        let both = ["access.log", "access.log.1"]
            .map(|name| std::fs::metadata(folder.path().join(name)).unwrap().len());
        assert!(both.iter().all(|size| *size < 4_000), "{both:?}");
    }
}
