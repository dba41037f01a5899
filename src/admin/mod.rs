//! The admin listener: health, readiness, metrics, status and reload.
//!
//! These pages are like those of any service, so they are built from tower's layers.

mod access;
mod busiest;
mod connections;
mod page;
mod problems;
mod selection;
mod shortages;
mod status;
mod vendor;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, LOCATION, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::{ServiceBuilder, service_fn};
use tower_http::catch_panic::CatchPanicLayer;

use access::AccessDenied;
use connections::AdminConnections;
use selection::{Selection, SelectionError};
use status::Status;

use crate::admission::Admission;
use crate::budget::Clock;
use crate::ledger::Ledger;
use crate::reload::{ReloadOutcome, Reloads};
use crate::store::{Store, StoreState};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent::RecentRefusals;
use crate::telemetry::sparing::Sparing;

/// Time limit for a request's head. It also closes idle connections.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// State that the admin pages show.
pub struct AdminState {
    /// The active configuration, and the way to replace it.
    pub reloads: Reloads,
    /// Counts of connections, requests and body memory, and the drain state.
    pub admission: Arc<Admission>,
    /// The state file's owner; `None` without a state file.
    pub ledger: Option<Arc<Ledger>>,
    /// The budgets' clock, which also knows the uptime.
    pub clock: Clock,
    /// The store that replicas share; `None` if budgets are not shared.
    pub store: Option<Arc<Store>>,
    /// Metrics to render at `/metrics`.
    pub metrics: Arc<Metrics>,
    /// The most recent refusals, for the status page.
    pub recent: Arc<RecentRefusals>,
}

/// The reason why calls cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// The process has been asked to stop.
    #[error("draining")]
    Draining,
    /// Another process, with this id, owns the state file and with it the budgets.
    #[error("waiting: process {0} has the state file")]
    Waiting(u32),
}

impl AdminState {
    /// Checks that calls can be sent to the vendor.
    pub fn ready(&self) -> Result<(), NotReady> {
        match &self.ledger {
            _ if self.admission.leaving() => Err(NotReady::Draining),
            Some(ledger) if !ledger.is_owned() => Err(NotReady::Waiting(ledger.other())),
            _ => Ok(()),
        }
    }
}

/// Serves the admin pages until the future is dropped.
pub async fn serve(listener: TcpListener, state: Arc<AdminState>) {
    let (mut admitted, failures) = (AdminConnections::default(), Sparing::default());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                if let Some(suppressed) = failures.admit(error.kind(), Instant::now()) {
                    tracing::warn!(
                        %error, suppressed,
                        "a connection to the admin listener could not be accepted"
                    );
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(connection) = admitted.admit() else { continue };
        let (state, busy_source) = (Arc::clone(&state), Arc::clone(&connection));
        let pages = service_fn(move |request: Request<Incoming>| {
            let (state, busy) = (Arc::clone(&state), busy_source.busy());
            async move {
                let answer = answer(&request, &state).await;
                drop(busy);
                Ok::<_, Infallible>(answer)
            }
        });
        let pages = ServiceBuilder::new().layer(CatchPanicLayer::new()).service(pages);
        tokio::spawn(async move {
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages));
            // Errors of a single admin connection are not logged.
            tokio::select! {
                _ = served => {}
                () = connection.closing() => {}
            }
        });
    }
}

async fn answer(request: &Request<Incoming>, state: &AdminState) -> Response<Full<Bytes>> {
    let (allowed, allow) = match (request.uri().path(), request.method()) {
        ("/reload", method) => (method == Method::POST, "POST"),
        (_, method) => (method == Method::GET || method == Method::HEAD, "GET, HEAD"),
    };
    if !allowed {
        let text = format!("this page takes {allow}\n");
        let mut refused = reply(StatusCode::METHOD_NOT_ALLOWED, "text/plain", text);
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        return refused;
    }
    let is_open = matches!(request.uri().path(), "/livez" | "/readyz" | "/metrics");
    if !is_open && let Err(denied) = access(request, state) {
        return refuse(denied);
    }
    match request.uri().path() {
        "/readyz" => {
            let (status, word) = match state.ready() {
                Ok(()) => (StatusCode::OK, "ok".to_owned()),
                Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why.to_string()),
            };
            reply(status, "text/plain", format!("{word}\nprocess {}\n", std::process::id()))
        }
        "/livez" => reply(StatusCode::OK, "text/plain", "ok\n"),
        "/metrics" => reply(StatusCode::OK, "text/plain; version=0.0.4", metrics(state)),
        "/status" => json(state, request.uri().query()).unwrap_or_else(|error| {
            let status = match error {
                SelectionError::Nobody { .. } => StatusCode::NOT_FOUND,
                SelectionError::Unknown(_) | SelectionError::Twice(_) | SelectionError::NoPage { .. } => {
                    StatusCode::BAD_REQUEST
                }
            };
            reply(status, "text/plain", format!("{error}\n"))
        }),
        "/" => html(Some(page::overview(&status(state), page::Pages::of(request.uri().query())))),
        "/find" => match page::find(&status(state), request.uri().query()) {
            page::Found::Page(path) => see(&path),
            page::Found::List(list) => with_policy(list, &page::FORM_POLICY),
        },
        "/reload" => reload(state).await,
        path => match (path.strip_prefix("/tenants/"), path.strip_prefix("/callers/")) {
            (Some(name), _) => html(page::tenant(&status(state), name)),
            (None, Some(name)) => html(page::caller(&status(state), name)),
            (None, None) => reply(
                StatusCode::NOT_FOUND,
                "text/plain",
                "pages: / /find /tenants/NAME /callers/NAME /status /livez /readyz /metrics /reload\n",
            ),
        },
    }
}

/// Checks a request for a private page.
fn access<B>(request: &Request<B>, state: &AdminState) -> Result<(), AccessDenied> {
    access::check(request.headers(), state.reloads.current().active.admin_token.as_ref())?;
    if request.method() == Method::POST { access::check_change(request.headers()) } else { Ok(()) }
}

fn refuse(denied: AccessDenied) -> Response<Full<Bytes>> {
    let status = match denied {
        AccessDenied::Credentials => StatusCode::UNAUTHORIZED,
        AccessDenied::Host | AccessDenied::Origin => StatusCode::FORBIDDEN,
    };
    let mut refused = reply(status, "text/plain", format!("{denied}\n"));
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"jpush-gateway admin\", charset=\"UTF-8\"");
        refused.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    refused
}

/// All that the pages tell.
fn status(state: &AdminState) -> Status {
    let mut status = Status::of(state);
    status.problems = problems::of(&status, state.ready().err());
    status
}

/// The status as JSON, or the part of it that a query asks for.
fn json<'q>(state: &AdminState, query: Option<&'q str>) -> Result<Response<Full<Bytes>>, SelectionError<'q>> {
    let selection = Selection::of(query)?;
    let mut status = status(state);
    selection.apply(&mut status)?;
    let json = serde_json::to_string(&status).expect("numbers and strings always serialise");
    Ok(reply(StatusCode::OK, "application/json", json))
}

/// The page of what the configuration may not have.
fn html(page: Option<maud::Markup>) -> Response<Full<Bytes>> {
    let Some(page) = page else {
        return reply(StatusCode::NOT_FOUND, "text/plain", "the configuration has nothing of this name\n");
    };
    with_policy(page, &page::POLICY)
}

/// A page for browsers, which may load nothing from elsewhere, be shown in no other page, and be kept by nobody.
fn with_policy(page: maud::Markup, policy: &HeaderValue) -> Response<Full<Bytes>> {
    let mut reply = reply(StatusCode::OK, "text/html; charset=utf-8", page.into_string());
    reply.headers_mut().insert(CONTENT_SECURITY_POLICY, policy.clone());
    reply.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    reply
}

/// Leads to another page of this listener.
fn see(path: &str) -> Response<Full<Bytes>> {
    let mut led = reply(StatusCode::SEE_OTHER, "text/plain", format!("{path}\n"));
    let path = HeaderValue::from_str(path).expect("names of tenants and callers are visible ASCII");
    led.headers_mut().insert(LOCATION, path);
    led
}

async fn reload(state: &AdminState) -> Response<Full<Bytes>> {
    let Some(outcome) = state.reloads.ask("request").await else {
        return reply(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "reloading has ended\n");
    };
    let status = match outcome {
        ReloadOutcome::Success { .. } => StatusCode::OK,
        ReloadOutcome::Failure { .. } => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let json = serde_json::to_string(&outcome).expect("strings always serialise");
    reply(status, "application/json", json)
}

fn metrics(state: &AdminState) -> String {
    let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    state.metrics.connections.set(gauge(state.admission.connections.now()));
    state.metrics.body_memory.set(gauge(state.admission.body_memory_bytes()));
    state.metrics.head_memory.set(gauge(state.admission.heads.used()));
    if let Some(store) = &state.store {
        state.metrics.store_up(store.state() != StoreState::Away);
    }
    let active = Arc::clone(&state.reloads.current().active);
    state.metrics.vendor_circuits(active.connector.circuit_states());
    state.metrics.render(&active.directory, state.clock.now())
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    for (name, value) in
        [(CONTENT_TYPE, content_type), (X_CONTENT_TYPE_OPTIONS, "nosniff"), (CACHE_CONTROL, "no-store")]
    {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    reply
}
