//! The knobs of an edge.

use std::path::PathBuf;
use std::time::Duration;

/// How an edge runs.
#[derive(Debug, Clone)]
pub struct EdgeOptions {
    /// The edge's own state, such as `<state folder>/edge/edge.json`. Its folder must exist; a
    /// lock file and, when lines had to be rejected, a copy of them lie beside it.
    pub state_file: PathBuf,
    /// An existing folder, 0700, for the two sockets [`CONTROL_SOCKET`](crate::CONTROL_SOCKET)
    /// and [`READING_SOCKET`](crate::READING_SOCKET). Its path may be of any length.
    pub socket_folder: PathBuf,
    /// Worker threads; 0 means one a core.
    pub workers: usize,
    /// How long requests in flight may go on after SIGTERM.
    pub grace: Duration,
    /// What a client and a backend may take.
    pub limits: Limits,
    /// A folder of certificates, one `<name>.pem` each with the chain and its key; that of
    /// `default.pem` goes to clients that name no host or one that no file is good for. With
    /// certificates a listener speaks TLS to whoever begins with it, beside plain HTTP. Used
    /// by builds with the feature `tls`.
    pub certificates: Option<PathBuf>,
    /// Where requests are written down, if they are.
    pub access_log: Option<AccessLogOptions>,
}

/// The access log: a line of JSON a request, with client, method, host, path (never its
/// query), status, bytes, times, release and what failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLogOptions {
    /// The file, 0600; lines are appended at most a quarter of a second late.
    pub path: PathBuf,
    /// Every so-manieth request is written; 1 writes all.
    pub every: u32,
    /// From so many bytes on the file is renamed to one that ends in `.1`, which is replaced.
    pub max_bytes: u64,
}

impl EdgeOptions {
    /// Options with everything else at its default.
    #[must_use]
    pub fn new(state_file: impl Into<PathBuf>, socket_folder: impl Into<PathBuf>) -> Self {
        Self {
            state_file: state_file.into(),
            socket_folder: socket_folder.into(),
            workers: 0,
            grace: Duration::from_secs(10),
            limits: Limits::default(),
            certificates: None,
            access_log: None,
        }
    }
}

/// Bounds on what a client or a backend may take. Times are looked at every quarter of the
/// shortest of them, at least every 250 ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// From the first byte of a request to the end of its header.
    pub request_header: Duration,
    /// Longest time a client connection may be idle between requests.
    pub keep_alive: Duration,
    /// Longest pause of a client while it sends a body.
    pub request_body_pause: Duration,
    /// Longest pause of a client that does not take what was answered.
    pub response_body_pause: Duration,
    /// Until a backend accepts a connection.
    pub connect: Duration,
    /// Until a backend's answer begins, counted from the last byte of the request.
    pub response_header: Duration,
    /// Longest time a connection to a backend is kept for another request. Below the five
    /// seconds after which common servers close theirs, so that it is us who close.
    pub backend_idle: Duration,
    /// Longest idle time of a connection to a backend that a request which must not be
    /// repeated (POST and the like) may still use.
    pub backend_idle_unsafe: Duration,
    /// Bytes in the header of a request or an answer, request line included.
    pub header_bytes: usize,
    /// Header fields in a request or an answer.
    pub header_fields: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams_per_connection: u32,
    /// Client connections a worker holds; more wait in the kernel's queue.
    pub connections_per_worker: usize,
    /// Connections at once from one client address; more are closed as they come. None, which
    /// is the default: as many as there are. Tunnels are not counted. Not for an edge behind another proxy, where all come
    /// from one address.
    pub connections_per_client: Option<u32>,
}

/// Bytes of a body that are taken in at once, at most. Measured: less costs system calls, more
/// costs memory for each connection and goes past the processor's caches.
const PIECE: usize = 32 << 10;
/// What the parser makes room for if it is told nothing, on the stack.
const PARSER_FIELDS: usize = 100;

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_header: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            request_body_pause: Duration::from_secs(60),
            response_body_pause: Duration::from_secs(60),
            connect: Duration::from_secs(5),
            response_header: Duration::from_secs(300),
            backend_idle: Duration::from_secs(4),
            backend_idle_unsafe: Duration::from_secs(1),
            header_bytes: 32 << 10,
            header_fields: PARSER_FIELDS,
            streams_per_connection: 128,
            connections_per_worker: 16_384,
            connections_per_client: None,
        }
    }
}

impl Limits {
    /// The buffer of a connection: a piece of a body, or a whole header.
    pub(crate) fn piece_bytes(&self) -> usize {
        self.header_bytes.max(PIECE)
    }

    /// How many fields a header may have, if that is not what the parser takes anyway: being
    /// told makes it slower.
    pub(crate) fn unusual_header_fields(&self) -> Option<usize> {
        Some(self.header_fields).filter(|fields| *fields != PARSER_FIELDS)
    }

    /// How often the limits are looked at.
    pub(crate) fn tick(&self) -> Duration {
        let shortest = [
            self.request_header,
            self.keep_alive,
            self.request_body_pause,
            self.response_body_pause,
            self.response_header,
            self.backend_idle,
        ]
        .into_iter()
        .min()
        .unwrap_or_default();
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_millis(250))
    }
}
