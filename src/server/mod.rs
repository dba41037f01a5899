//! Listeners, threads and the way to an end.
//!
//! One current-thread runtime a core, each with its own listeners (`SO_REUSEPORT`) and its own vendor connections;
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
use listeners::{Manner, Port};
use tls::CallerTls;

pub use bind::{Neighbours, listen};
pub use inherited::Inherited;
pub use listeners::{Doors, Listeners};
pub use liveness::Liveness;
pub use open_files::allow_open_files;
pub use stream::{CallerStream, Closing};
pub use tls::{CertificateError, Certificates, Handshakes, InUse};

use crate::admission::InFlightGuard;
use crate::config::Limits;
use crate::gateway::Worker;

/// What is on its way when we begin to close can still arrive: ends of handshakes, and requests on connections that
/// nobody told anything yet. A long round trip.
const ON_THE_WAY: Duration = Duration::from_millis(250);
/// At the end of a drain, time to tell those whose calls are given up.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why the gateway cannot start serving.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process listens there.
    #[error("cannot listen on {0}: address in use")]
    AddressInUse(SocketAddr),
    /// A socket that was passed on to us cannot be used.
    #[error("a socket of the service manager cannot be used")]
    Inherited(#[source] io::Error),
    /// A socket was passed on to us that the configuration does not ask for.
    #[error(
        "the service manager passes a socket on {0}, which is the address of no listener and not admin.address"
    )]
    NotAsked(SocketAddr),
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
pub type CurrentWorker = ArcSwap<Worker>;

/// Serves HTTP/1.1 on a stream that no listener accepted, as it is served on a plain listener but for its time-outs:
/// tests and fuzzers need no sockets.
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

/// Where the process is on its way to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownStage {
    /// Serving, but for the addresses that are only reserved.
    Stand,
    /// Serving.
    Serve,
    /// Accepting no more, finishing what there is until this instant.
    Finish(Instant),
}

/// The threads that serve.
pub struct ServerThreads {
    addresses: Vec<SocketAddr>,
    liveness: Arc<Liveness>,
    is_followed: bool,
    workers: Vec<JoinHandle<()>>,
    stage: watch::Sender<ShutdownStage>,
}

impl ServerThreads {
    /// Starts a thread for every worker.
    pub fn start(
        listeners: Listeners,
        workers: Vec<Arc<CurrentWorker>>,
        limits: &Limits,
    ) -> Result<(Self, Doors), StartError> {
        let (stage, stages) = watch::channel(ShutdownStage::Stand);
        let doors = listeners.doors(stage.clone()).map_err(StartError::Thread)?;
        let timeouts = ConnectionTimeouts { head: limits.header_timeout, idle: limits.idle_timeout };
        let (addresses, is_followed) = (listeners.addresses().collect(), listeners.are_inherited());
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
                    // Not dropped: that would wait for the system's resolver, which can hang for minutes.
                    runtime.shutdown_background();
                })
                .map_err(StartError::Thread)
        };
        let workers = workers.into_iter().zip(ports).enumerate().map(start).collect::<Result<_, _>>()?;
        Ok((Self { addresses, liveness, is_followed, workers, stage }, doors))
    }

    /// Addresses as bound, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Whether its callers go on to another process by themselves: sockets of the service manager go on listening.
    pub fn is_followed(&self) -> bool {
        self.is_followed
    }

    /// Tells of workers that are stuck.
    pub fn liveness(&self) -> Arc<Liveness> {
        Arc::clone(&self.liveness)
    }

    /// Stops accepting, and finishes what there is by then at the latest.
    pub fn finish_by(&self, deadline: Instant) {
        self.stage.send_replace(ShutdownStage::Finish(deadline));
    }

    /// Whether there is nothing left, and nobody on the way to us.
    pub fn is_finished(&self) -> bool {
        self.workers.iter().all(JoinHandle::is_finished)
    }

    /// Blocks until everything is finished.
    pub fn join(self) {
        for worker in self.workers {
            if worker.join().is_err() {
                tracing::error!("a worker thread ended in a panic");
            }
        }
    }
}

/// One worker's thread.
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
        // Requests that come meanwhile end their connection with an answer, and not in the air.
        sleep(ON_THE_WAY.min(deadline.saturating_duration_since(Instant::now()))).await;
        core.finish_until(deadline, &mut listeners).await;
        core.worker.load().give_up_calls();
        core.finish_until(Instant::now() + LAST_WORDS, &mut listeners).await;
        core.liveness.ended(core.number);
    }

    /// Connections that come while the others are told are found by the next round.
    async fn finish_until(&self, deadline: Instant, listeners: &mut JoinSet<()>) {
        let admission = Arc::clone(self.worker.load().admission());
        let mut busy = || {
            while listeners.try_join_next().is_some() {}
            !listeners.is_empty() || admission.in_flight() > 0 || admission.connections.now() > 0
        };
        while Instant::now() < deadline && busy() {
            self.timers.tell_all(CloseOrder::Finish);
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Serves a connection whose other end says first whom it speaks for.
    async fn introduced(
        self: Arc<Self>,
        mut stream: TcpStream,
        proxy: SocketAddr,
        manner: Manner,
        place: InFlightGuard,
    ) {
        let worker = self.worker.load_full();
        let limit = worker.limits().header_timeout;
        let header = tokio::time::timeout(limit, Box::pin(proxy_header::read(&mut stream))).await;
        let Ok(Ok(client)) = header else { return worker.telemetry().metrics.bad_request("proxy-header") };
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
        place: InFlightGuard,
    ) -> impl Future<Output = ()> + Send + use<S>
    where
        S: CallerStream + 'static,
    {
        let opening =
            Opening { protocol: Protocol::Http1, certificate: None, address: Some(written(address)) };
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
            let Some((stream, clients)) = shake_hands(&tls, &worker, stream).await else { return };
            drop(tls);
            let protocol = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Protocol::Http2,
                _ => Protocol::Http1,
            };
            // What is known of clients goes: it holds the trust in those who signed for them.
            let certificate = clients.and_then(|clients| clients.shown(stream.get_ref().1));
            let end = certificate.as_ref().map(Shown::end);
            let timer = timers.add();
            let opening = Opening { protocol, certificate, address: Some(written(address)) };
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
            self.liveness.hear(self.number, Instant::now());
            self.timers.sweep();
            self.worker.load().telemetry().failures.tell_rest(Instant::now());
            if trimmed.elapsed() >= Duration::from_secs(10) {
                trimmed = Instant::now();
                self.worker.load().trim(trimmed);
            }
        }
    }
}

/// The stream of a good handshake, and what the listener knows of clients.
async fn shake_hands(
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

/// An address as it is logged. One of IPv4 that came to a socket of IPv6 is written as one of IPv4.
fn written(address: SocketAddr) -> Arc<str> {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string().into()
}
