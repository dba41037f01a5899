//! Listeners, threads and the way to an end.
//!
//! One current-thread runtime a core, each with its own listeners (`SO_REUSEPORT`) and its own vendor connections;
//! nothing moves between cores. A multi-thread runtime was measured at a p99 of 228 ms against 37 ms with 1,000
//! connections.

mod clients;
mod connection;
mod drain;
mod handshake;
mod http1;
mod http2;
mod listeners;
mod proxy_header;
mod pulse;
mod stream;
mod tls;

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use clients::{Clients, Shown};
use connection::{Opening, Protocol};
use pulse::{Order, Patience, Pulses};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout_at};
use tokio_rustls::server::TlsStream;

use handshake::Handshake;
use listeners::Manner;
pub use listeners::{Listeners, listen};
pub use stream::{CallerStream, Closing};
use tls::Tls;
pub use tls::{CertificateError, Certificates, Handshakes, InUse};

use crate::config::Limits;
use crate::gateway::Worker;
use crate::load::Place;

/// What a plain connection over the limit is told.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// What is on its way when we begin to close can still arrive: ends of handshakes, and requests on connections that
/// nobody told anything yet. A long round trip.
const ON_THE_WAY: Duration = Duration::from_millis(250);
/// At the end of a drain, time to tell those whose calls are given up.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why the gateway cannot start serving.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TLS of a listener. Its files changed since the configuration was read, mostly.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A thread or its runtime.
    #[error("a worker thread cannot be started")]
    Thread(#[source] io::Error),
}

/// The worker in use on a core: a reload puts another in its place, and every request takes the present one along.
pub type Seat = ArcSwap<Worker>;

/// Serves HTTP/1.1 on a stream that no listener accepted, as it is served on a plain listener but for its time-outs:
/// tests and fuzzers need no sockets.
pub async fn serve_stream<S>(stream: S, worker: Arc<Seat>)
where
    S: CallerStream + 'static,
{
    let limits = &worker.load().setup.limits;
    let pulses = Pulses::new(Patience { head: limits.header_timeout, idle: limits.idle_timeout });
    let opening = Opening { protocol: Protocol::Http1, certificate: None, address: None };
    connection::serve(stream, opening, worker, pulses.add()).await;
}

/// Where the process is on its way to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Serving.
    Serve,
    /// Accepting no more, finishing what there is until this instant.
    Finish(Instant),
}

/// The threads that serve.
pub struct Serving {
    workers: Vec<JoinHandle<()>>,
    stage: watch::Sender<Stage>,
}

impl Serving {
    /// Starts a thread for every worker.
    pub fn start(listeners: Listeners, workers: Vec<Arc<Seat>>, limits: &Limits) -> Result<Self, StartError> {
        let (stage, stages) = watch::channel(Stage::Serve);
        let patience = Patience { head: limits.header_timeout, idle: limits.idle_timeout };
        let mut sockets: Vec<Vec<(StdListener, Manner)>> = workers.iter().map(|_| Vec::new()).collect();
        for bound in listeners.0 {
            for (own, socket) in sockets.iter_mut().zip(bound.sockets) {
                own.push((socket, bound.manner.clone()));
            }
        }
        let start = |(number, (worker, sockets))| {
            let core = Core { worker, pulses: Pulses::new(patience), stages: stages.clone() };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(StartError::Thread)?;
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    runtime.block_on(core.run(sockets, patience));
                    // Not dropped: that would wait for the system's resolver, which can hang for minutes.
                    runtime.shutdown_background();
                })
                .map_err(StartError::Thread)
        };
        let workers = workers.into_iter().zip(sockets).enumerate().map(start).collect::<Result<_, _>>()?;
        Ok(Self { workers, stage })
    }

    /// Stops accepting, finishes what there is, and ends after `deadline` at the latest. Blocks until then.
    pub fn finish(self, deadline: Duration) {
        self.stage.send_replace(Stage::Finish(Instant::now() + deadline));
        for worker in self.workers {
            if worker.join().is_err() {
                tracing::error!("a worker thread ended in a panic");
            }
        }
    }
}

/// One worker's thread.
struct Core {
    worker: Arc<Seat>,
    pulses: Arc<Pulses>,
    stages: watch::Receiver<Stage>,
}

impl Core {
    async fn run(self, sockets: Vec<(StdListener, Manner)>, patience: Patience) {
        let core = Arc::new(self);
        let mut listeners = JoinSet::new();
        for (socket, manner) in sockets {
            match TcpListener::from_std(socket) {
                Ok(listener) => drop(listeners.spawn(Arc::clone(&core).accept(listener, manner))),
                Err(error) => tracing::error!(%error, "a listener cannot be served"),
            }
        }
        tokio::spawn(Arc::clone(&core).sweep(patience));
        let mut stages = core.stages.clone();
        let deadline = loop {
            if let Stage::Finish(deadline) = *stages.borrow_and_update() {
                break deadline;
            }
            if stages.changed().await.is_err() {
                return;
            }
        };
        // Requests that come meanwhile end their connection with an answer, and not in the air.
        sleep(ON_THE_WAY.min(deadline.saturating_duration_since(Instant::now()))).await;
        core.finish_until(deadline, &mut listeners).await;
        core.worker.load().give_up.notify_waiters();
        core.finish_until(Instant::now() + LAST_WORDS, &mut listeners).await;
    }

    /// Connections that come while the others are told are found by the next round.
    async fn finish_until(&self, deadline: Instant, listeners: &mut JoinSet<()>) {
        let load = Arc::clone(&self.worker.load().load);
        let mut busy = || {
            while listeners.try_join_next().is_some() {}
            !listeners.is_empty() || load.in_flight() > 0 || load.connections.now() > 0
        };
        while Instant::now() < deadline && busy() {
            self.pulses.tell_all(Order::Finish);
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, manner: Manner) {
        let mut stages = self.stages.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stages.wait_for(|stage| *stage != Stage::Serve) => break,
            };
            self.admit(accepted, &manner).await;
        }
        // Connections in the kernel's queue, and those about to get there, are reset when the listener closes.
        if let Err(error) = drain::take_no_more(&listener) {
            tracing::debug!(%error, "a listener closes with connections on their way to it");
        }
        let closes = tokio::time::Instant::now() + ON_THE_WAY;
        while let Ok(accepted) = timeout_at(closes, listener.accept()).await {
            self.admit(accepted, &manner).await;
        }
        while let Some(accepted) = futures_util::FutureExt::now_or_never(listener.accept()) {
            self.admit(accepted, &manner).await;
        }
    }

    async fn admit(self: &Arc<Self>, accepted: io::Result<(TcpStream, SocketAddr)>, manner: &Manner) {
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: another try at once would spin.
                let failures = Arc::clone(&self.worker.load().telemetry.failures);
                if let Some(suppressed) = failures.admit("accept", error.kind().to_string()) {
                    tracing::warn!(%error, suppressed, "a connection could not be accepted");
                }
                return sleep(Duration::from_millis(50)).await;
            }
        };
        let _ = stream.set_nodelay(true);
        let Some(place) = self.worker.load().load.connections.enter() else {
            return turn_away(stream, manner.tls.as_deref());
        };
        match &manner.tls {
            _ if manner.proxy_protocol => {
                drop(tokio::spawn(Arc::clone(self).introduced(stream, address, manner.clone(), place)));
            }
            None => drop(tokio::spawn(self.serve(stream, address, place))),
            Some(tls) => drop(tokio::spawn(self.handshake((stream, address), Arc::clone(tls), place))),
        }
    }

    /// Serves a connection whose other end says first whom it speaks for.
    async fn introduced(
        self: Arc<Self>,
        mut stream: TcpStream,
        proxy: SocketAddr,
        manner: Manner,
        place: Place,
    ) {
        let worker = self.worker.load_full();
        let limit = worker.setup.limits.header_timeout;
        let header = tokio::time::timeout(limit, Box::pin(proxy_header::read(&mut stream))).await;
        let Ok(Ok(client)) = header else { return worker.telemetry.metrics.bad_request("proxy-header") };
        drop(worker);
        let address = client.unwrap_or(proxy);
        match manner.tls {
            None => self.serve(stream, address, place).await,
            Some(tls) => self.handshake((stream, address), tls, place).await,
        }
    }

    fn serve<S>(
        &self,
        stream: S,
        address: SocketAddr,
        place: Place,
    ) -> impl Future<Output = ()> + Send + use<S>
    where
        S: CallerStream + 'static,
    {
        let opening =
            Opening { protocol: Protocol::Http1, certificate: None, address: Some(written(address)) };
        let served = connection::serve(stream, opening, Arc::clone(&self.worker), self.pulses.add());
        async move {
            served.await;
            drop(place);
        }
    }

    fn handshake(
        &self,
        (stream, address): (TcpStream, SocketAddr),
        tls: Arc<Tls>,
        place: Place,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (worker, pulses) = (Arc::clone(&self.worker), Arc::clone(&self.pulses));
        async move {
            let Some((stream, clients)) = shake_hands(&tls, &worker, stream).await else { return };
            drop(tls);
            let protocol = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Protocol::Http2,
                _ => Protocol::Http1,
            };
            // What is known of clients goes: it holds the trust in those who signed for them.
            let certificate = clients.and_then(|clients| clients.shown(stream.get_ref().1));
            let end = certificate.as_ref().map(Shown::end);
            let pulse = pulses.add();
            let opening = Opening { protocol, certificate, address: Some(written(address)) };
            let mut served = pin!(connection::serve(stream, opening, worker, Arc::clone(&pulse)));
            if let Some(end) = end {
                tokio::select! {
                    biased;
                    () = served.as_mut() => return drop(place),
                    () = end => pulse.finish(),
                }
            }
            served.await;
            drop(place);
        }
    }

    async fn sweep(self: Arc<Self>, patience: Patience) {
        let mut ticks = tokio::time::interval(patience.period());
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut trimmed = Instant::now();
        loop {
            ticks.tick().await;
            self.pulses.sweep();
            self.worker.load().telemetry.failures.tell_rest(Instant::now());
            if trimmed.elapsed() >= Duration::from_secs(10) {
                trimmed = Instant::now();
                let worker = self.worker.load_full();
                worker.pool.trim(trimmed);
                worker.spare.trim();
            }
        }
    }
}

/// The stream of a good handshake, and what the listener knows of clients.
async fn shake_hands(
    tls: &Tls,
    worker: &Seat,
    stream: TcpStream,
) -> Option<(TlsStream<TcpStream>, Option<Clients>)> {
    let (worker, acceptor) = (worker.load_full(), tls.acceptor.load_full());
    let limit = worker.setup.limits.header_timeout;
    let handshake = Handshake { listener: &tls.listener, failures: &tls.failures, limit };
    let stream = handshake.run(&acceptor.tls, stream, &worker.telemetry.metrics.tls).await?;
    Some((stream, acceptor.clients.clone()))
}

/// An address as it is logged. One of IPv4 that came to a socket of IPv6 is written as one of IPv4.
fn written(address: SocketAddr) -> Arc<str> {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string().into()
}

/// Over the limit: a plain connection is told so without waiting for it, one with TLS is closed.
fn turn_away(mut stream: TcpStream, tls: Option<&Tls>) {
    if tls.is_none() {
        tokio::spawn(async move {
            let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(FULL)).await;
        });
    }
}
