//! The admin listener: is it alive, is it ready, what has it done.
//!
//! Everything here is anybody's service, so the layers are tower's.

mod guests;
mod status;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::{ServiceBuilder, service_fn};
use tower_http::catch_panic::CatchPanicLayer;

use guests::Guests;

use crate::admission::Admission;
use crate::budget::Clock;
use crate::ledger::Ledger;
use crate::reload::{ReloadOutcome, Reloads};
use crate::secret::TokenDigest;
use crate::store::{Store, StoreState};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent::RecentRefusals;
use crate::telemetry::sparing::Sparing;

/// For a request's head; also closes idle connections.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// What the admin pages tell about.
pub struct AdminState {
    /// The configuration in use, and the way to another.
    pub reloads: Reloads,
    /// What the gateway is doing.
    pub admission: Arc<Admission>,
    /// What keeps the budgets over restarts.
    pub ledger: Option<Arc<Ledger>>,
    /// The clock of the budgets, which also tells how long the process runs.
    pub clock: Clock,
    /// What replicas share of the budgets, if they do.
    pub store: Option<Arc<Store>>,
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// The last refusals.
    pub recent: Arc<RecentRefusals>,
}

/// Why calls cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// The process was told to stop.
    #[error("draining")]
    Draining,
    /// Another process has the budgets.
    #[error("waiting: process {0} has the state file")]
    Waiting(u32),
}

impl AdminState {
    /// Whether calls can be sent.
    pub fn ready(&self) -> Result<(), NotReady> {
        match &self.ledger {
            _ if self.admission.leaving() => Err(NotReady::Draining),
            Some(ledger) if !ledger.is_owned() => Err(NotReady::Waiting(ledger.other())),
            _ => Ok(()),
        }
    }
}

/// Serves the admin pages until it is dropped.
pub async fn serve(listener: TcpListener, state: Arc<AdminState>) {
    let (mut guests, told) = (Guests::default(), Sparing::default());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                if let Some(suppressed) = told.admit(error.kind(), Instant::now()) {
                    tracing::warn!(
                        %error, suppressed,
                        "a connection to the admin listener could not be accepted"
                    );
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(guest) = guests.admit() else { continue };
        let (state, asking) = (Arc::clone(&state), Arc::clone(&guest));
        let pages = service_fn(move |request: Request<Incoming>| {
            let (state, answering) = (Arc::clone(&state), asking.answering());
            async move {
                let answer = answer(&request, &state).await;
                drop(answering);
                Ok::<_, Infallible>(answer)
            }
        });
        let pages = ServiceBuilder::new().layer(CatchPanicLayer::new()).service(pages);
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages));
            // How an operator's connection ends is nobody's business.
            tokio::select! {
                _ = connection => {}
                () = guest.leaves() => {}
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
    let is_private = matches!(request.uri().path(), "/" | "/status" | "/reload");
    if is_private && !is_operator(request.headers(), state.reloads.current().active.admin_token.as_ref()) {
        let text = "this page asks for Authorization: Bearer with the token of admin.token\n";
        let mut refused = reply(StatusCode::UNAUTHORIZED, "text/plain", text);
        refused
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"jpush-gateway admin\""));
        return refused;
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
        "/status" => {
            let status = status::Status::of(state);
            let json = serde_json::to_string(&status).expect("numbers and strings always serialise");
            reply(StatusCode::OK, "application/json", json)
        }
        "/" => reply(StatusCode::OK, "text/html; charset=utf-8", status::page(&status::Status::of(state))),
        "/reload" => reload(state).await,
        _ => reply(StatusCode::NOT_FOUND, "text/plain", "pages: /livez /readyz /metrics /status /reload /\n"),
    }
}

/// Whether a request may see what is not for everybody; without a configured token, whoever reaches us may.
fn is_operator(headers: &HeaderMap, token: Option<&TokenDigest>) -> bool {
    let Some(token) = token else { return true };
    let given = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, given) = value.as_bytes().split_at_checked("Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then(|| TokenDigest::of(given.trim_ascii()))
    });
    given.is_some_and(|given| given.matches(token))
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
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
