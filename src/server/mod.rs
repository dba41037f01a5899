//! Listeners, worker threads and their shutdown.
//!
//! Each core has one current-thread runtime with its own listeners (`SO_REUSEPORT`) and its own vendor connections;
//! nothing moves between cores. A multi-thread runtime was measured at a p99 of 228 ms against 37 ms with 1,000
//! connections.

mod accept;
mod bind;
mod carrier;
mod clients;
mod connection;
mod drain;
mod handshake;
mod http1;
mod http2;
mod inherited;
mod listeners;
mod liveness;
mod open_files;
mod proxy_header;
mod requests;
mod stream;
mod timeouts;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use carrier::Carrier;
use clients::{Clients, Shown};
use connection::{Opening, Protocol};
use timeouts::{CloseOrder, ConnectionTimeouts, ConnectionTimers};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::server::TlsStream;

use handshake::Handshake;
use listeners::{ConnectionSetup, Port};
use tls::CallerTls;

pub use bind::{Neighbours, listen};
pub use inherited::Inherited;
pub use listeners::{Listeners, ReservedListeners};
pub use liveness::Liveness;
pub use open_files::allow_open_files;
pub use tls::{CertificateError, Certificates, Handshakes, InUse};

use crate::admission::InFlightGuard;
use crate::config::Limits;
use crate::gateway::Worker;
use crate::http1::stream::CallerStream;

/// Time after the start of the shutdown in which traffic already on its way can arrive: the ends of handshakes, and
/// requests on connections that do not know of the shutdown yet. It corresponds to a long round trip.
const IN_TRANSIT: Duration = Duration::from_millis(250);
/// Time at the end of a drain for answering the calls that are given up.
const FINAL_ANSWERS: Duration = Duration::from_secs(1);

/// The reason why the gateway cannot start serving.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process listens on the address.
    #[error("cannot listen on {0}: address in use")]
    AddressInUse(SocketAddr),
    /// An inherited socket cannot be used.
    #[error("a socket of the service manager cannot be used")]
    Inherited(#[source] io::Error),
    /// The configuration does not use an inherited socket.
    #[error(
        "the service manager passes a socket on {0}, which is the address of no listener and not admin.address"
    )]
    NotAsked(SocketAddr),
    /// The process cannot listen on an address.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address in the configuration.
        address: SocketAddr,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// TLS of a listener cannot be set up; most often its files changed after the configuration was read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A thread or its runtime cannot be started.
    #[error("a worker thread cannot be started")]
    Thread(#[source] io::Error),
}

/// The worker in use on a core. A reload replaces it; each request keeps the worker that it started with.
pub type CurrentWorker = ArcSwap<Worker>;

/// Serves HTTP/1.1 on a stream without a listener, as on a plain listener but without its timeouts, so that tests and
/// fuzzers need no sockets.
pub async fn serve_stream<S>(stream: S, worker: Arc<CurrentWorker>)
where
    S: CallerStream + 'static,
{
    let timeouts = {
        let now = worker.load();
        ConnectionTimeouts { head: now.limits().header_timeout, idle: now.limits().idle_timeout }
    };
    let timers = ConnectionTimers::new(timeouts);
    let opening = Opening { protocol: Protocol::Http1, certificate: None, address: None };
    connection::serve(stream, opening, worker, timers.add()).await;
}

/// The stage of the process between start and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownStage {
    /// Serving, except on reserved addresses.
    ServeUnreserved,
    /// Serving on all addresses.
    Serve,
    /// Accepting no more connections and finishing the present ones, until this instant.
    Finish(Instant),
}

/// The threads that run the workers.
pub struct ServerThreads {
    addresses: Vec<SocketAddr>,
    liveness: Arc<Liveness>,
    has_successor: bool,
    workers: Vec<JoinHandle<()>>,
    stage: watch::Sender<ShutdownStage>,
}

impl ServerThreads {
    /// Starts one thread for each worker.
    pub fn start(
        listeners: Listeners,
        workers: Vec<Arc<CurrentWorker>>,
        limits: &Limits,
    ) -> Result<(Self, ReservedListeners), StartError> {
        let (stage, stages) = watch::channel(ShutdownStage::ServeUnreserved);
        let reserved_listeners = listeners.reserved_listeners(stage.clone()).map_err(StartError::Thread)?;
        let timeouts = ConnectionTimeouts { head: limits.header_timeout, idle: limits.idle_timeout };
        let (addresses, has_successor) = (listeners.addresses().collect(), listeners.are_inherited());
        let ports = listeners.into_ports(workers.len());
        let liveness = Arc::new(Liveness::new(workers.len()));
        let start = |(number, (worker, ports))| {
            let core = Core {
                worker,
                timers: ConnectionTimers::new(timeouts),
                stages: stages.clone(),
                number,
                liveness: Arc::clone(&liveness),
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(StartError::Thread)?;
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    runtime.block_on(core.run(ports, timeouts));
                    // Not dropped, because that waits for the system's resolver, which can block for minutes.
                    runtime.shutdown_background();
                })
                .map_err(StartError::Thread)
        };
        let workers = workers.into_iter().zip(ports).enumerate().map(start).collect::<Result<_, _>>()?;
        Ok((Self { addresses, liveness, has_successor, workers, stage }, reserved_listeners))
    }

    /// The addresses as bound, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Whether another process takes over the callers without being told: the service manager's sockets continue to
    /// listen.
    pub fn has_successor(&self) -> bool {
        self.has_successor
    }

    /// The detection of stuck workers.
    pub fn liveness(&self) -> Arc<Liveness> {
        Arc::clone(&self.liveness)
    }

    /// Stops accepting, and ends what is under way at `deadline` at the latest.
    pub fn finish_by(&self, deadline: Instant) {
        self.stage.send_replace(ShutdownStage::Finish(deadline));
    }

    /// Whether all workers have ended.
    pub fn is_finished(&self) -> bool {
        self.workers.iter().all(JoinHandle::is_finished)
    }

    /// Blocks until all workers have ended.
    pub fn join(self) {
        for worker in self.workers {
            if worker.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    }
}

/// The state of one worker's thread.
struct Core {
    worker: Arc<CurrentWorker>,
    timers: Arc<ConnectionTimers>,
    stages: watch::Receiver<ShutdownStage>,
    number: usize,
    liveness: Arc<Liveness>,
}

impl Core {
    async fn run(self, ports: Vec<Port>, timeouts: ConnectionTimeouts) {
        let core = Arc::new(self);
        let mut listeners = JoinSet::new();
        for port in ports {
            listeners.spawn(Arc::clone(&core).serve_port(port));
        }
        tokio::spawn(Arc::clone(&core).sweep(timeouts));
        let mut stages = core.stages.clone();
        let deadline = loop {
            if let ShutdownStage::Finish(deadline) = *stages.borrow_and_update() {
                break deadline;
            }
            if stages.changed().await.is_err() {
                return;
            }
        };
        // Requests that arrive in the meantime still get an answer before their connections close.
        sleep(IN_TRANSIT.min(deadline.saturating_duration_since(Instant::now()))).await;
        core.finish_until(deadline, &mut listeners).await;
        core.worker.load().give_up_calls();
        core.finish_until(Instant::now() + FINAL_ANSWERS, &mut listeners).await;
        core.liveness.ended(core.number);
    }

    /// Tells all connections to finish, again and again, because new ones can still be accepted meanwhile.
    async fn finish_until(&self, deadline: Instant, listeners: &mut JoinSet<()>) {
        let admission = Arc::clone(self.worker.load().admission());
        let mut busy = || {
            while listeners.try_join_next().is_some() {}
            !listeners.is_empty() || admission.in_flight() > 0 || admission.connections.now() > 0
        };
        while Instant::now() < deadline && busy() {
            self.timers.order_all(CloseOrder::Finish);
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Serves a connection on which a proxy first sends the client's address.
    async fn serve_behind_proxy(
        self: Arc<Self>,
        mut stream: TcpStream,
        proxy: SocketAddr,
        setup: ConnectionSetup,
        place: InFlightGuard,
    ) {
        let worker = self.worker.load_full();
        let limit = worker.limits().header_timeout;
        let header = tokio::time::timeout(limit, Box::pin(proxy_header::read(&mut stream))).await;
        let Ok(Ok(client)) = header else { return worker.telemetry().metrics.bad_request("proxy-header") };
        drop(worker);
        let address = client.unwrap_or(proxy);
        match setup.tls {
            None => self.serve(stream, address, place).await,
            Some(tls) => self.handshake((stream, address), tls, place).await,
        }
    }

    fn serve<S>(
        &self,
        stream: S,
        address: SocketAddr,
        place: InFlightGuard,
    ) -> impl Future<Output = ()> + Send + use<S>
    where
        S: CallerStream + 'static,
    {
        let opening =
            Opening { protocol: Protocol::Http1, certificate: None, address: Some(address_text(address)) };
        let served = connection::serve(stream, opening, Arc::clone(&self.worker), self.timers.add());
        async move {
            served.await;
            drop(place);
        }
    }

    fn handshake(
        &self,
        (stream, address): (TcpStream, SocketAddr),
        tls: Arc<CallerTls>,
        place: InFlightGuard,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (worker, timers) = (Arc::clone(&self.worker), Arc::clone(&self.timers));
        async move {
            let Some((stream, clients)) = run_handshake(&tls, &worker, stream).await else { return };
            drop(tls);
            let protocol = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Protocol::Http2,
                _ => Protocol::Http1,
            };
            // `clients` is dropped here: it would keep trusting the authorities that signed for them.
            let certificate = clients.and_then(|clients| clients.shown(stream.get_ref().1));
            let end = certificate.as_ref().map(Shown::end);
            let timer = timers.add();
            let opening = Opening { protocol, certificate, address: Some(address_text(address)) };
            let mut served = pin!(connection::serve(stream, opening, worker, Arc::clone(&timer)));
            if let Some(end) = end {
                tokio::select! {
                    biased;
                    () = served.as_mut() => return drop(place),
                    () = end => timer.finish(),
                }
            }
            served.await;
            drop(place);
        }
    }

    async fn sweep(self: Arc<Self>, timeouts: ConnectionTimeouts) {
        let mut ticks = tokio::time::interval(timeouts.period());
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut trimmed = Instant::now();
        loop {
            ticks.tick().await;
            self.liveness.report(self.number, Instant::now());
            self.timers.sweep();
            self.worker.load().telemetry().failures.log_suppressed(Instant::now());
            if trimmed.elapsed() >= Duration::from_secs(10) {
                trimmed = Instant::now();
                self.worker.load().trim(trimmed);
            }
        }
    }
}

/// Performs a handshake; returns the stream, and the listener's state about client certificates.
async fn run_handshake(
    tls: &CallerTls,
    worker: &CurrentWorker,
    stream: TcpStream,
) -> Option<(TlsStream<Carrier>, Option<Clients>)> {
    let (worker, acceptor) = (worker.load_full(), tls.acceptor.load_full());
    let limit = worker.limits().header_timeout;
    let handshake = Handshake { listener: &tls.listener, failures: &tls.failures, limit };
    let carrier = Carrier::new(stream, &worker.admission().heads);
    let stream = handshake.run(&acceptor.tls, carrier, &worker.telemetry().metrics.tls).await?;
    Some((stream, acceptor.clients.clone()))
}

/// An address as it is logged. An IPv4 address on an IPv6 socket is written as IPv4.
fn address_text(address: SocketAddr) -> Arc<str> {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string().into()
}
