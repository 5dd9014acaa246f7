//! Traffic and what answers it, which the emulator has none of: what an image does, servers on loopback, a front
//! that passes requests on by the rules and weights in the emulator, and lines in its log groups.

mod front;
mod server;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

pub(super) use self::front::Front;
pub(super) use self::server::{answer, serve};

/// So often the emulator is asked what there is.
const LOOK: Duration = Duration::from_millis(60);
/// So long what was taken out finishes what it does.
pub(super) const DRAINED: Duration = Duration::from_secs(2);

/// What runs an app beside an emulator.
pub(super) trait Played: Send + Sync + 'static {
    /// What there is in the emulator now, and what that means for what runs.
    fn look(this: &Arc<Self>) -> io::Result<()>;
    /// Where what is in a target group is reached.
    fn targets_of(&self, group: &str) -> Vec<SocketAddr>;
    /// What passes requests on.
    fn front(&self) -> &Front;
    /// Is it over?
    fn ended(&self) -> &AtomicBool;
}

/// Follows the emulator, and serves the load balancer's port, until it is over.
pub(super) fn play<P: Played>(port: TcpListener, played: &Arc<P>) {
    let looks = Arc::clone(played);
    std::thread::spawn(move || {
        while !looks.ended().load(Ordering::SeqCst) {
            // One that does not answer is asked again.
            let _ = P::look(&looks);
            std::thread::sleep(LOOK);
        }
    });
    let serves = Arc::clone(played);
    serve(port, Arc::new(AtomicBool::new(false)), move |request| {
        serves.front().pass(request, |group: &str| serves.targets_of(group))
    });
}

/// What an image does.
#[derive(Debug, Clone)]
pub enum Image {
    /// Answers every request with 200 and this, and says so in its log. Which container did says the
    /// header `x-container`.
    Serves(String),
    /// Answers every request with this status: its targets are not well.
    Sick(u16),
    /// Writes these lines and ends with this exit code.
    Ends(i32, Vec<String>),
}

impl Image {
    /// The lines that a container of it writes when it starts.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Self::Serves(said) => vec![format!("serves {said}")],
            Self::Sick(_) => Vec::new(),
            Self::Ends(_, lines) => lines.clone(),
        }
    }

    /// Status and body of its answers; `None` of one that gives none.
    pub(super) fn answers(&self) -> Option<(u16, String)> {
        match self {
            Self::Serves(said) => Some((200, said.clone())),
            Self::Sick(status) => Some((*status, "not well".to_owned())),
            Self::Ends(..) => None,
        }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Lines in a new stream of a log group, as a log driver writes them.
pub(super) fn write(emulator: SocketAddr, group: &str, stream: &str, lines: &[String]) {
    let logs = |what: &str, form: &Value| {
        super::json(emulator, "logs", &format!("Logs_20140328.{what}"), &form.to_string())
    };
    let name = json!({ "logGroupName": group, "logStreamName": stream });
    let at = (now() * 1000.0).trunc() as i64;
    let events: Vec<Value> = lines.iter().map(|line| json!({ "timestamp": at, "message": line })).collect();
    let mut form = name.clone();
    form["logEvents"] = events.into();
    // Lines that cannot be written are lost, as there.
    let _ = logs("CreateLogStream", &name).and_then(|_| logs("PutLogEvents", &form));
}

/// A target of a group, and how it is.
pub(super) fn target(port: u16, health: &str) -> String {
    format!(
        "<member><Target><Id>127.0.0.1</Id><Port>{port}</Port></Target>\
         <TargetHealth>{health}</TargetHealth></member>"
    )
}

/// What a load balancer says of a target. It asks some times before it believes that a new one is well.
pub(super) fn health(image: &Image, is_new: bool, leaves: bool) -> String {
    match image {
        _ if leaves => "<State>draining</State>".to_owned(),
        Image::Sick(status) => format!(
            "<State>unhealthy</State><Reason>Target.ResponseCodeMismatch</Reason>\
             <Description>Health checks failed with these codes: [{status}]</Description>"
        ),
        Image::Serves(_) if !is_new => "<State>healthy</State>".to_owned(),
        Image::Serves(_) | Image::Ends(..) => {
            "<State>initial</State><Reason>Elb.InitialHealthChecking</Reason>".to_owned()
        }
    }
}

/// The answer of `DescribeTargetHealth` with these targets.
pub(super) fn target_health(members: &str) -> String {
    format!(
        "<DescribeTargetHealthResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\">\
         <DescribeTargetHealthResult><TargetHealthDescriptions>{members}</TargetHealthDescriptions>\
         </DescribeTargetHealthResult></DescribeTargetHealthResponse>"
    )
}

/// The target group that a request asks for.
pub(super) fn group_asked(form: &str) -> String {
    let group = form.split('&').find_map(|field| field.strip_prefix("TargetGroupArn=")).unwrap_or_default();
    percent_encoding::percent_decode_str(group).decode_utf8_lossy().into_owned()
}

/// Load balancers with the front's address in the place of their names.
pub(super) fn behind(front: SocketAddr, said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said).into_owned();
    let names = super::elements(&said, "DNSName");
    names.iter().fold(said, |said, name| said.replace(name, &front.to_string()))
}
