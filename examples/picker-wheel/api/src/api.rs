//! The API's routes.

use std::io;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

use crate::http::{self, Body};
use crate::storage::Storage;
use crate::timestamp;
use crate::wheel::{self, NewWheel, Spin, SpinRequest, Wheel};

/// Spins in one answer of `/api/history`.
const PAGE: usize = 50;

/// Answers one request.
pub async fn answer(storage: Storage, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (request.method().clone(), segments.as_slice()) {
        (Method::GET, ["health"]) => health(storage).await,
        (Method::GET, ["api", "wheels"]) => respond(
            StatusCode::OK,
            stored(move || Ok(storage.read()?.wheels)).await,
        ),
        (Method::POST, ["api", "wheels"]) => match http::read_json(request).await {
            Ok(new) => create(storage, new).await,
            Err(response) => *response,
        },
        (Method::GET, ["api", "wheels", id]) => {
            let id = (*id).to_owned();
            let found = stored(move || {
                Ok(storage
                    .read()?
                    .wheels
                    .into_iter()
                    .find(|wheel| wheel.id == id))
            })
            .await;
            match found {
                Ok(Some(wheel)) => http::json(StatusCode::OK, &wheel),
                Ok(None) => no_such_wheel(),
                Err(problem) => storage_failed(&problem),
            }
        }
        (Method::DELETE, ["api", "wheels", id]) => delete(storage, (*id).to_owned()).await,
        (Method::POST, ["api", "spin"]) => match http::read_json(request).await {
            Ok(wanted) => spin(storage, wanted).await,
            Err(response) => *response,
        },
        (Method::GET, ["api", "history"]) => {
            let history = stored(move || {
                let mut history = storage.read()?.history;
                history.truncate(PAGE);
                Ok(history)
            });
            respond(StatusCode::OK, history.await)
        }
        (_, ["health"] | ["api", "wheels" | "spin" | "history"] | ["api", "wheels", _]) => {
            http::error(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path does not take this method",
            )
        }
        _ => http::error(StatusCode::NOT_FOUND, "there is nothing at this path"),
    }
}

/// Healthy means that a write went through: an API that forgets is not well.
async fn health(storage: Storage) -> Response<Body> {
    let probe = stored(move || storage.probe()).await;
    let well = probe.is_ok();
    let (status, code) = if well {
        ("healthy", StatusCode::OK)
    } else {
        ("unhealthy", StatusCode::SERVICE_UNAVAILABLE)
    };
    http::json(
        code,
        &json!({
            "status": status,
            "service": "picker-wheel-api",
            "version": env!("CARGO_PKG_VERSION"),
            "timestamp": timestamp(),
            "readiness": well,
            "dependencies": {
                "storage": { "connected": well, "error": probe.err().map(|problem| problem.to_string()) }
            }
        }),
    )
}

async fn create(storage: Storage, new: NewWheel) -> Response<Body> {
    let checked = wheel::checked_name(&new.name)
        .and_then(|name| Ok((name, wheel::checked_options(new.options)?)));
    let (name, options) = match checked {
        Ok(checked) => checked,
        Err(message) => return http::error(StatusCode::BAD_REQUEST, &message),
    };
    let made = stored(move || {
        let wheel = Wheel {
            id: wheel::random_id()?,
            name,
            options,
            created_at: timestamp(),
            spins: 0,
        };
        storage.change(|stored| stored.wheels.push(wheel.clone()))?;
        Ok(wheel)
    });
    respond(StatusCode::CREATED, made.await)
}

async fn delete(storage: Storage, id: String) -> Response<Body> {
    let gone = stored(move || {
        storage.change(|stored| {
            let before = stored.wheels.len();
            stored.wheels.retain(|wheel| wheel.id != id);
            stored.wheels.len() < before
        })
    });
    match gone.await {
        Ok(true) => {
            let mut response = Response::new(http::body(""));
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Ok(false) => no_such_wheel(),
        Err(problem) => storage_failed(&problem),
    }
}

async fn spin(storage: Storage, wanted: SpinRequest) -> Response<Body> {
    // Options that came along win: the page may have changed them without keeping them.
    let own = if wanted.options.is_empty() {
        None
    } else {
        match wheel::checked_options(wanted.options) {
            Ok(options) => Some(options),
            Err(message) => return http::error(StatusCode::BAD_REQUEST, &message),
        }
    };
    if wanted.wheel_id.len() > 60 || wanted.session_id.len() > 100 {
        return http::error(
            StatusCode::BAD_REQUEST,
            "an id is longer than any that was given out",
        );
    }
    let spun = stored(move || {
        let point = wheel::random_point()?;
        storage.change(|stored| {
            let kept = stored
                .wheels
                .iter_mut()
                .find(|wheel| wheel.id == wanted.wheel_id);
            let options = match (&own, &kept) {
                (Some(options), _) => options,
                (None, Some(wheel)) => &wheel.options,
                (None, None) => return None,
            };
            let index = wheel::pick(options, point);
            let spin = Spin {
                result: options[index].label.clone(),
                index,
                wheel_id: wanted.wheel_id.clone(),
                session_id: wanted.session_id.clone(),
                timestamp: timestamp(),
            };
            if let Some(wheel) = kept {
                wheel.spins += 1;
            }
            stored.history.insert(0, spin.clone());
            Some(spin)
        })
    });
    match spun.await {
        Ok(Some(spin)) => http::json(StatusCode::OK, &spin),
        Ok(None) => no_such_wheel(),
        Err(problem) => storage_failed(&problem),
    }
}

/// The disk may be slow: it is asked on a thread of its own.
async fn stored<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

fn respond(status: StatusCode, value: io::Result<impl serde::Serialize>) -> Response<Body> {
    match value {
        Ok(value) => http::json(status, &value),
        Err(problem) => storage_failed(&problem),
    }
}

fn no_such_wheel() -> Response<Body> {
    http::error(StatusCode::NOT_FOUND, "there is no such wheel")
}

fn storage_failed(problem: &io::Error) -> Response<Body> {
    eprintln!("{} storage: {problem}", timestamp());
    http::error(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the wheels cannot be stored; the log says why",
    )
}
