//! One request: find its route, choose a release, pass it on, pass the answer back.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use crate::access_log::{Answered, Asked};
use crate::assets::AssetExtensions;
use crate::body::{EdgeBody, Lease, Upload};
use crate::challenges;
use crate::flight::{Busy, Connection, Flight, InFlight};
use crate::gzip::Asker;
use crate::headers;
use crate::held::unix_ms;
use crate::metrics::Failure;
use crate::origin::Origin;
use crate::replies::{Reason, challenge, prefers_json, redirect, reply};
use crate::routes::{Choice, Route};
use crate::upstream;
use crate::worker::Worker;

type Answer = (Response<Incoming>, Lease);

/// Answers one request of a client. Never an error: what goes wrong is an answer too.
pub(crate) async fn handle(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<EdgeBody>, Infallible> {
    let two_lengths = connection.watch.begin();
    let mut visit = Visit {
        busy: Busy::new(&connection),
        json: prefers_json(request.headers()),
        to_log: worker
            .access_log()
            .and_then(|(log, lines)| log.ask(lines, &request, &connection.client, connection.secure.get())),
    };
    let mut response = match route(&worker, &connection, &request, two_lengths) {
        Ok(Way { route, choice, fresh_bucket, from }) => {
            if let (Some(asked), Cow::Owned(client)) = (&mut visit.to_log, &from.client) {
                asked.came_from(client.clone(), from.secure);
            }
            let remember = route.https.as_ref().filter(|_| from.secure).and_then(|one| one.remember.clone());
            let cookie = fresh_bucket
                .and_then(|bucket| crate::sticky::set_cookie(route.sticky.as_deref()?, bucket, from.secure));
            // In a box: an idle connection keeps the room of what answers its requests.
            let passing = pass(&worker, &connection, request, route, choice, &from, visit);
            let mut response = Box::pin(passing).await;
            if let Some(cookie) = cookie {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
            if let Some(remember) = remember {
                response.headers_mut().entry(header::STRICT_TRANSPORT_SECURITY).or_insert(remember);
            }
            response
        }
        Err(instead) => answer_instead(&worker, &connection, instead, visit),
    };
    if worker.is_retired()
        && response.status() != StatusCode::SWITCHING_PROTOCOLS
        && !connection.multiplexed.get()
    {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// What goes with a request from its beginning.
struct Visit {
    busy: Busy,
    /// What the edge says by itself is to be JSON.
    json: bool,
    to_log: Option<Box<Asked>>,
}

/// Where a request goes.
struct Way<'a> {
    route: Rc<Route>,
    choice: Rc<Choice>,
    /// The client is to keep this bucket.
    fresh_bucket: Option<u32>,
    from: Origin<'a>,
}

/// What no app is asked about.
enum Instead {
    Refused(Reason),
    /// The same is to be asked for at this address.
    Elsewhere(HeaderValue),
    /// What an authority asks for.
    Challenge(String),
}

impl<R: Into<Reason>> From<R> for Instead {
    fn from(reason: R) -> Self {
        Self::Refused(reason.into())
    }
}

fn answer_instead(
    worker: &Worker,
    connection: &Connection,
    instead: Instead,
    visit: Visit,
) -> Response<EdgeBody> {
    let (response, failure) = match instead {
        Instead::Refused(reason) => {
            worker.count_refused();
            tracing::debug!(listener = %connection.listener, ?reason, "refused a request");
            (reply(reason, visit.json, visit.busy), Some("refused"))
        }
        Instead::Elsewhere(address) => (redirect(address, visit.busy), None),
        Instead::Challenge(answer) => (challenge(answer, visit.busy), None),
    };
    if let (Some(asked), Some((log, lines))) = (&visit.to_log, worker.access_log()) {
        let status = Some(response.status().as_u16());
        log.answer(lines, asked, Answered { status, failure, ..Answered::default() });
    }
    response
}

/// Finds the route and the release. The release counts the request as under way from here on:
/// [`Flight::entered`] takes that over.
fn route<'a>(
    worker: &Worker,
    connection: &'a Connection,
    request: &Request<Incoming>,
    two_lengths: bool,
) -> Result<Way<'a>, Instead> {
    let host = headers::admit(request, two_lengths)?;
    loop {
        let routes = worker.routes();
        let path = request.uri().path();
        if matches!(*request.method(), Method::GET | Method::HEAD)
            && let Some(answer) = routes.answers.find(host.as_deref(), path, unix_ms)
        {
            return Err(Instead::Challenge(answer.to_string()));
        }
        let route = routes.find(&connection.listener, host.as_deref(), path)?;
        let peer = Origin::of_peer(connection.address, &connection.client, connection.secure.get());
        let from = match &route.trusted_proxies {
            Some(trusted) => peer.believing(request.headers(), trusted),
            None => peer,
        };
        if let Some(https) = route.https.as_ref().filter(|_| !from.secure && !challenges::may_be_asked(path))
        {
            let host = host.as_deref().ok_or(Reason::BadHost)?;
            let address = headers::by_tls(host, https.port, request.uri());
            return Err(address.map_or(Instead::Refused(Reason::BadTarget), Instead::Elsewhere));
        }
        let length = hyper::body::Body::size_hint(request.body()).lower();
        if route.max_body_bytes.is_some_and(|most| length > most) {
            return Err(Reason::TooLarge.into());
        }
        let mut fresh_bucket = None;
        let choice = match route.sticks() {
            None => route.pick(|below| worker.random(below)),
            Some(cookie) => {
                let bucket = crate::sticky::bucket(request.headers(), cookie).unwrap_or_else(|| {
                    let drawn = worker.random(crate::sticky::BUCKETS.into());
                    *fresh_bucket.insert(u32::try_from(drawn).unwrap_or(0))
                });
                route.of_bucket(bucket)
            }
        };
        let choice = choice.ok_or(Reason::NoRelease)?;
        choice.stats.enter(worker.index);
        // Counted first and looked second: a drain that began with a newer table either sees
        // the count or makes us choose again.
        if worker.is_current(&routes) {
            return Ok(Way { route: route.clone(), choice: choice.clone(), fresh_bucket, from });
        }
        choice.stats.leave(worker.index);
    }
}

async fn pass(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    mut request: Request<Incoming>,
    route: Rc<Route>,
    choice: Rc<Choice>,
    from: &Origin<'_>,
    Visit { busy, json, to_log }: Visit,
) -> Response<EdgeBody> {
    let mut flight = Flight::entered(worker, connection, &choice.stats);
    flight.log(to_log);
    let asked = headers::asked_upgrade(&request)
        .map(|protocol| Upgrade { protocol, client: hyper::upgrade::on(&mut request) });
    let asker = route.compress.then(|| Asker::of(request.method(), request.headers()));
    let (mut head, body) = request.into_parts();
    let protocol = asked.as_ref().map(|asked| &asked.protocol);
    headers::to_backend(&mut head, &body, from, protocol, || {
        let address = choice.backends.first()?.to_string();
        HeaderValue::from_str(&address).ok()
    });
    let asset = route.bridge_assets
        && route.choices.len() > 1
        && worker.assets().asks_for_asset(&head.method, head.uri.path());
    let spare = asset.then(|| head.clone());
    let upload = Upload::new(body, flight.state(), route.max_body_bytes);

    let sent = {
        let sending = pin!(send(worker, flight.state(), &choice, head, upload));
        flight.state().stop.or(sending).await
    };
    let (response, lease) = match sent {
        Ok(Ok(answer)) => answer,
        Ok(Err(Unanswered { failure, again })) => {
            let before = again.filter(|_| route.choices.len() > 1).zip(route.before(&choice));
            if let Some((again, before)) = before
                && let Some(found) = Box::pin(ask(worker, connection, &before, again)).await
            {
                // It failed all the same: who decides whether the release stays is to see that.
                flight.failed(failure);
                let to_log = flight.take_log();
                let (mut flight, response, lease) = found;
                flight.log(to_log);
                return if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    switch(flight, response, lease, asked, json, busy)
                } else {
                    deliver(flight, response, lease, asker, busy)
                };
            }
            return fail(flight, failure, json, busy);
        }
        Err(stop) => return fail(flight, stop.failure(), json, busy),
    };
    flight.answered(response.status().as_u16());
    if let Some(spare) = spare
        && AssetExtensions::is_miss(response.status(), response.headers())
        && let Some(found) = Box::pin(bridge(worker, connection, &route, &choice, &spare)).await
    {
        flight.whole();
        let to_log = flight.take_log();
        let (mut flight, response, lease) = found;
        flight.log(to_log);
        return deliver(flight, response, lease, asker, busy);
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return switch(flight, response, lease, asked, json, busy);
    }
    deliver(flight, response, lease, asker, busy)
}

/// What a release did not answer.
struct Unanswered {
    failure: Failure,
    /// The same once more, where that does no harm.
    again: Option<Request<Upload>>,
}

/// Sends a request to the first backend that takes it. It is repeated only when it did not
/// leave, or when it has no body and its method promises that repeating it does no harm.
async fn send(
    worker: &Rc<Worker>,
    flight: &InFlight,
    choice: &Choice,
    head: Parts,
    body: Upload,
) -> Result<Answer, Unanswered> {
    let limits = worker.limits();
    let empty = hyper::body::Body::is_end_stream(&body);
    let repeatable = empty && headers::is_repeatable(&head.method);
    let spare = repeatable.then(|| head.clone());
    let again = || Some(Request::from_parts(spare.clone()?, Upload::empty()));
    let mut unsent = Some(Request::from_parts(head, body));
    let mut failure = Failure::Unreachable;
    for backend in choice.backends.in_turn() {
        flight.backend.set(Some(backend));
        let mut may_reuse = true;
        while let Some(request) = unsent.take().or_else(again) {
            let pooled =
                may_reuse.then(|| worker.pool.take(backend, worker.now(), limits, repeatable)).flatten();
            let reused = pooled.is_some();
            let mut link = match pooled {
                Some(link) => link,
                None => match upstream::connect(backend, limits).await {
                    Ok(link) => link,
                    Err(error) => {
                        tracing::debug!(%backend, %error, "a backend did not accept a connection");
                        if choice.backends.is_up(backend) {
                            worker.report(backend);
                        }
                        unsent = Some(request);
                        break;
                    }
                },
            };
            match link.send(request).await {
                Ok(response) => {
                    let lease = Lease { link, backend, worker: worker.clone() };
                    return Ok((response, lease));
                }
                Err(mut error) => {
                    unsent = error.take_message();
                    let error = error.into_error();
                    tracing::debug!(%backend, %error, reused, "a backend did not answer");
                    failure = Failure::Broken;
                    if error.is_parse() {
                        return Err(Unanswered { failure, again: None });
                    }
                }
            }
            if !reused {
                break;
            }
            // An idle connection that the backend had closed says nothing about the backend.
            may_reuse = false;
        }
        if unsent.is_none() && !repeatable {
            break;
        }
    }
    // What holds a part of its body is not sent to anybody else.
    Err(Unanswered { failure, again: unsent.filter(|_| empty).or_else(again) })
}

/// Asks a release that the request was not meant for.
async fn ask(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    choice: &Choice,
    request: Request<Upload>,
) -> Option<(Flight, Response<Incoming>, Lease)> {
    choice.stats.enter(worker.index);
    let flight = Flight::entered(worker, connection, &choice.stats);
    if choice.stats.is_draining() {
        flight.whole();
        return None;
    }
    let (head, body) = request.into_parts();
    let sent = {
        let sending = pin!(send(worker, flight.state(), choice, head, body));
        flight.state().stop.or(sending).await
    };
    match sent {
        Ok(Ok((response, lease))) => {
            flight.answered(response.status().as_u16());
            return Some((flight, response, lease));
        }
        Ok(Err(unanswered)) => flight.failed(unanswered.failure),
        Err(stop) => flight.failed(stop.failure()),
    }
    None
}

/// Looks for an asset in the releases that were not asked.
async fn bridge(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    route: &Route,
    asked: &Choice,
    head: &Parts,
) -> Option<(Flight, Response<Incoming>, Lease)> {
    for choice in route.bridge(asked) {
        let request = Request::from_parts(head.clone(), Upload::empty());
        let Some((flight, response, lease)) = ask(worker, connection, &choice, request).await else {
            continue;
        };
        let found = response.status().is_success()
            && !AssetExtensions::is_miss(response.status(), response.headers());
        if found {
            return Some((flight, response, lease));
        }
        flight.whole();
    }
    None
}

fn fail(mut flight: Flight, failure: Failure, json: bool, busy: Busy) -> Response<EdgeBody> {
    let stats = &flight.state().stats;
    let (site, release) = (&stats.site, &stats.release);
    tracing::debug!(%site, %release, cause = failure.as_str(), "a request failed");
    flight.failed(failure);
    let response = reply(failure.into(), json, busy);
    flight.answered_by_edge(response.status().as_u16());
    response
}

/// `asker` is there where answers may be compressed.
fn deliver(
    flight: Flight,
    response: Response<Incoming>,
    lease: Lease,
    asker: Option<Asker>,
    busy: Busy,
) -> Response<EdgeBody> {
    let (mut head, body) = response.into_parts();
    headers::to_client(&mut head.headers);
    head.version = http::Version::HTTP_11;
    head.extensions.clear();
    let may_end =
        headers::is_event_stream(&head.headers) && !head.headers.contains_key(header::CONTENT_LENGTH);
    let empty = hyper::body::Body::is_end_stream(&body);
    let gzip = asker.is_some_and(|asker| !empty && asker.decide(head.status, &mut head.headers));
    let download = EdgeBody::download(body, flight, lease, may_end, busy);
    Response::from_parts(head, if gzip { download.compressed() } else { download })
}

/// A client's wish to change the protocol.
struct Upgrade {
    protocol: HeaderValue,
    client: OnUpgrade,
}

fn switch(
    flight: Flight,
    mut response: Response<Incoming>,
    lease: Lease,
    asked: Option<Upgrade>,
    json: bool,
    busy: Busy,
) -> Response<EdgeBody> {
    let agreed = response.headers().get(header::UPGRADE).cloned();
    let (Some(asked), Some(protocol)) = (asked, agreed) else {
        return fail(flight, Failure::Broken, json, busy);
    };
    if !protocol.as_bytes().eq_ignore_ascii_case(asked.protocol.as_bytes()) {
        return fail(flight, Failure::Broken, json, busy);
    }
    let websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
    let backend = hyper::upgrade::on(&mut response);
    lease.link.detach();
    let (mut head, _) = response.into_parts();
    headers::to_client(&mut head.headers);
    head.headers.insert(header::UPGRADE, protocol);
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    head.version = http::Version::HTTP_11;
    head.extensions.clear();
    flight.becomes_tunnel();
    tokio::task::spawn_local(crate::tunnel::run(asked.client, backend, flight, websocket));
    Response::from_parts(head, EdgeBody::text(String::new(), busy))
}
