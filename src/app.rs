//! The gateway as a whole: a configuration becomes running threads, a signal becomes an orderly end.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, oneshot};

use crate::admin;
use crate::budget::{Budgets, Clock};
use crate::config::{Config, Drain};
use crate::gateway::Worker;
use crate::intake::SpareBuffers;
use crate::load::Load;
use crate::server::{self, Listeners, Serving, StartError};
use crate::setup::Setup;
use crate::telemetry::Telemetry;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent::Recent;
use crate::vendor::{Pool, TlsSetupError};

/// Why the gateway could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address, a certificate or a thread.
    #[error(transparent)]
    Start(#[from] StartError),
    /// TLS to the vendor.
    #[error(transparent)]
    Vendor(#[from] TlsSetupError),
    /// The operating system refused something else.
    #[error("the process cannot be set up")]
    System(#[from] io::Error),
}

/// A gateway whose threads serve.
pub struct App {
    serving: Serving,
    load: Arc<Load>,
    drain: Drain,
    admin: Arc<admin::State>,
    admin_listener: TcpListener,
    // Last, so that what the workers still write is flushed after they ended.
    _access_log: AccessLog,
}

impl App {
    /// Starts serving. Access lines go to `sink`. Must be called on a tokio runtime, which then serves the admin pages.
    pub fn start(config: &Config, sink: impl Write + Send + 'static) -> Result<Self, RunError> {
        let setup = Arc::new(Setup::new(config, &Budgets::default())?);
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = config.workers.map_or_else(cores, NonZeroUsize::get);
        let listeners = Listeners::bind(&config.listeners, workers)?;
        let admin_listener = TcpListener::from_std(server::listen(config.admin.address)?)?;
        listeners.addresses().for_each(|address| tracing::info!(%address, "listening"));
        tracing::info!(address = %admin_listener.local_addr()?, "admin listening");
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        tracing::warn!("budgets start empty: calls that were made before this start are not counted");
        let (load, clock) = (Arc::new(Load::new(&config.limits)), Clock::start());
        let (metrics, recent) = (Arc::new(Metrics::new()), Arc::new(Recent::default()));
        let access_log = AccessLog::start(workers, sink)?;
        let worker = |number| {
            let lane = access_log.lane(number);
            Arc::new(Worker {
                setup: Arc::clone(&setup),
                load: Arc::clone(&load),
                clock,
                pool: Pool::new(Arc::clone(&setup.connector)),
                spare: Arc::new(SpareBuffers::default()),
                give_up: Notify::new(),
                telemetry: Arc::new(Telemetry {
                    metrics: Arc::clone(&metrics),
                    recent: Arc::clone(&recent),
                    lane,
                }),
            })
        };
        let serving = Serving::start(listeners, (0..workers).map(worker).collect(), config)?;
        let admin = admin::State {
            setup,
            load: Arc::clone(&load),
            clock,
            metrics: Arc::clone(&metrics),
            recent: Arc::clone(&recent),
            config_digest: config.digest.clone(),
            config_loaded: SystemTime::now(),
        };
        let drain = config.drain.clone();
        Ok(Self { serving, load, drain, admin: Arc::new(admin), admin_listener, _access_log: access_log })
    }

    /// Where the admin pages are.
    pub fn admin_address(&self) -> io::Result<SocketAddr> {
        self.admin_listener.local_addr()
    }

    /// Serves until SIGTERM or SIGINT, then drains. A second signal ends the drain.
    pub async fn run(self) -> Result<(), RunError> {
        let mut signals = Signals::new()?;
        let pages = tokio::spawn(admin::serve(self.admin_listener, self.admin));
        signals.stop().await;
        tracing::info!("draining");
        self.load.start_leaving();
        let (serving, delay) = (self.serving, self.drain.delay);
        let finished = async {
            tokio::time::sleep(delay).await;
            self.load.start_draining();
            // A thread of its own: at its end the runtime would wait for a blocking task, second signal or not.
            let (done, finished) = oneshot::channel();
            std::thread::spawn(move || {
                serving.finish();
                let _ = done.send(());
            });
            let _ = finished.await;
        };
        tokio::select! {
            () = finished => {}
            () = signals.stop() => tracing::warn!("a second signal: ending without waiting for what is under way"),
        }
        pages.abort();
        tracing::info!("stopped");
        Ok(())
    }
}

/// The signals a service manager sends.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal to stop.
    async fn stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => tracing::warn!("reload is not supported yet; restart to load a new configuration"),
            }
        }
    }
}
