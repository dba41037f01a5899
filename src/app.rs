//! The gateway as a whole: starts all threads from a configuration, and stops them in order on a signal.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::signal::unix::Signal;
use tokio::sync::oneshot;

use crate::active_config::ActiveConfig;
use crate::admin;
use crate::admission::Admission;
use crate::budget::{Budgets, Clock};
use crate::config::{Config, Drain};
use crate::gateway::{SharedState, Worker};
use crate::ledger::{Ledger, LedgerError};
use crate::reload::{ConfigSource, Current, Parts, Reloads};
use crate::server::{
    self, Certificates, CurrentWorker, Inherited, Listeners, Liveness, Neighbours, ServerThreads, StartError,
};
use crate::service_manager::{self, ServiceState};
use crate::signals::Signals;
use crate::store::{Store, StoreError};
use crate::telemetry::access::AccessLog;
use crate::telemetry::audit::{AuditError, AuditLog};
use crate::telemetry::log::Log;
use crate::telemetry::log_writer::{LAST_LINES, LineLog};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans::{Spans, SpansError};
use crate::telemetry::{AttemptFailures, Telemetry};
use crate::upstream::TlsSetupError;

/// The least time without a report after which a worker counts as stuck. Workers report every second.
const STUCK_AFTER_MIN: Duration = Duration::from_secs(2);
/// Time for which calls on open connections are still dispatched after another process has taken over new callers.
const SETTLE: Duration = Duration::from_secs(1);

/// The reason why the gateway could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address, a certificate or a thread failed.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The store of shared budgets cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// TLS to the vendor cannot be set up.
    #[error(transparent)]
    Vendor(#[from] TlsSetupError),
    /// The state file cannot be used.
    #[error(transparent)]
    StateFile(#[from] LedgerError),
    /// The audit log cannot be opened.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Spans cannot be sent.
    #[error(transparent)]
    Spans(#[from] SpansError),
    /// The operating system refused something else.
    #[error("the process cannot be set up")]
    System(#[from] io::Error),
}

/// A gateway whose threads are running.
pub struct App {
    serving: ServerThreads,
    admission: Arc<Admission>,
    ledger: Option<Arc<Ledger>>,
    reloads: Reloads,
    signals: Signals,
    admin: Arc<admin::AdminState>,
    admin_listener: TcpListener,
    logs: Arc<Logs>,
}

/// All logs of the process, and its spans.
struct Logs {
    access: LineLog,
    audit: Option<AuditLog>,
    spans: Option<Arc<Spans>>,
    process: Arc<Log>,
}

impl Logs {
    /// Writes the remaining lines and sends the remaining spans, until `until` at the latest: the reader of a log may have
    /// stopped reading.
    fn end(&self, until: Instant) {
        self.access.end(until);
        if let Some(log) = &self.audit {
            log.end(until);
        }
        if let Some(spans) = &self.spans {
            // A collector that does not answer leaves time for the last lines of the process log.
            spans.end(until.checked_sub(LAST_LINES / 2).unwrap_or(until));
        }
        tracing::info!("stopped");
        self.process.end(until);
    }
}

impl App {
    /// Starts the gateway, including the listeners on inherited sockets. Access lines go to `out`. Must be called on a
    /// tokio runtime, which then serves the admin pages.
    pub fn start(
        source: ConfigSource,
        inherited: Inherited,
        log: &Arc<Log>,
        out: impl Write + Send + 'static,
    ) -> Result<Self, RunError> {
        // First of all, because a SIGHUP before the handlers are installed would end the process.
        let signals = Signals::new()?;
        let config = &source.config;
        let budgets = empty_budgets(config);
        let active = Arc::new(ActiveConfig::new(config, &budgets)?);
        let store = start_store(config, &budgets)?;
        let workers = workers(config);
        // The state file goes before the listeners: connections that the kernel assigned to them would be lost if the
        // start failed later.
        let clock = Clock::start();
        let ledger = open_ledger(config, clock, &budgets)?;
        let (listeners, admin_listener) = listen(config, inherited, ledger.as_deref(), workers)?;
        config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let admission = Arc::new(Admission::new(&config.limits));
        let metrics = Arc::new(Metrics::with_log(log.lost().clone()));
        let (recent, failures, vendor_clock) =
            (Arc::default(), Arc::new(AttemptFailures::default()), Arc::default());
        let access_sink = AccessLog::new(out, log.lost().clone());
        let access_log = LineLog::start("access-log", workers, access_sink, log.lost().clone())?;
        let start_audit = |audit| AuditLog::start(audit, workers, metrics.audit_lost.clone());
        let audit_log = config.audit.as_ref().map(start_audit).transpose()?;
        let start_spans = |tracing| Spans::start(tracing, metrics.spans_lost.clone()).map(Arc::new);
        let spans = config.tracing.as_ref().map(start_spans).transpose()?;
        let shared = SharedState {
            admission: Arc::clone(&admission),
            ledger: ledger.clone(),
            clock,
            store: store.clone(),
        };
        let worker = |number| {
            let (lane, audit) = (access_log.lane(number), audit_log.as_ref().map(|log| log.lane(number)));
            let telemetry = Arc::new(Telemetry {
                metrics: Arc::clone(&metrics),
                recent: Arc::clone(&recent),
                failures: Arc::clone(&failures),
                vendor_clock: Arc::clone(&vendor_clock),
                lane,
                audit,
                spans: spans.clone(),
            });
            let worker = Worker::new(Arc::clone(&active), shared.clone(), telemetry);
            Arc::new(CurrentWorker::from_pointee(worker))
        };
        let current_workers: Vec<_> = (0..workers).map(worker).collect();
        let handshakes = listeners.handshakes(&config.listeners);
        let (serving, reserved_listeners) =
            ServerThreads::start(listeners, current_workers.clone(), &config.limits)?;
        if let Some(ledger) = &ledger {
            ledger.wait_for_owner(&budgets, move || reserved_listeners.open())?;
        }
        let current = Current::new(config, active);
        let parts = Parts {
            current_workers,
            handshakes,
            admission: Arc::clone(&admission),
            budgets,
            clock,
            metrics: Arc::clone(&metrics),
            audit: audit_log.as_ref().map(AuditLog::reopening),
            level: log.level(),
        };
        let reloads = Reloads::start(source, current, parts)?;
        let admin = Arc::new(admin::AdminState {
            reloads: reloads.clone(),
            admission: Arc::clone(&admission),
            ledger: ledger.clone(),
            clock,
            store,
            metrics: Arc::clone(&metrics),
            recent: Arc::clone(&recent),
        });
        let logs = Arc::new(Logs { access: access_log, audit: audit_log, spans, process: Arc::clone(log) });
        Ok(Self { serving, admission, ledger, reloads, signals, admin, admin_listener, logs })
    }

    /// The addresses of the listeners, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.serving.addresses()
    }

    /// The address of the admin pages.
    pub fn admin_address(&self) -> io::Result<SocketAddr> {
        self.admin_listener.local_addr()
    }

    /// Serves until SIGTERM, SIGINT or SIGQUIT, reloading at every SIGHUP, and then drains. A second signal ends the
    /// drain.
    pub async fn run(self) {
        let Signals { mut stop, hangup, .. } = self.signals;
        let pages = tokio::spawn(admin::serve(self.admin_listener, Arc::clone(&self.admin)));
        let reloading = tokio::spawn(reload_at(hangup, self.reloads.clone(), Arc::clone(&self.admin)));
        let notifying = tokio::spawn(notify_when_ready(Arc::clone(&self.admin)));
        let watching = tokio::spawn(notify_while_alive(self.serving.liveness()));
        stop.signal().await;
        notifying.abort();
        service_manager::notify(ServiceState::Stopping);
        tracing::info!("draining");
        self.admission.start_leaving();
        let (serving, admission, logs) = (self.serving, self.admission, Arc::clone(&self.logs));
        let drain = self.reloads.current().drain.clone();
        let finished = async {
            tokio::time::sleep(drain.delay).await;
            // A thread and not a blocking task: the runtime would wait for the task at its end, even after a second
            // signal.
            let (done, finished) = oneshot::channel();
            std::thread::spawn(move || {
                let deadline = Instant::now() + drain.deadline;
                finish(serving, &admission, self.ledger, &drain);
                if let Some(store) = &self.admin.store {
                    store.leave();
                }
                logs.end(deadline.max(Instant::now() + LAST_LINES));
                let _ = done.send(());
            });
            let _ = finished.await;
        };
        tokio::select! {
            () = finished => {}
            () = stop.signal() => {
                tracing::warn!("a second signal: ending without waiting for requests being served");
                self.logs.end(Instant::now() + LAST_LINES);
            }
        }
        pages.abort();
        reloading.abort();
        watching.abort();
    }
}

/// Drains the gateway. If another process takes over the callers, calls on open connections are still dispatched for a
/// short time, so that no caller has to repeat one. Otherwise no further call is dispatched.
fn finish(serving: ServerThreads, admission: &Admission, ledger: Option<Arc<Ledger>>, drain: &Drain) {
    let deadline = Instant::now() + drain.deadline;
    let has_successor =
        ledger.as_deref().is_some_and(Ledger::announce) || drain.handover || serving.has_successor();
    if has_successor {
        serving.finish_by(deadline);
        let settled = deadline.min(Instant::now() + SETTLE);
        while !serving.is_finished() && Instant::now() < settled {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    admission.start_draining();
    // Started at once, because the next process waits for it.
    let hand_over = ledger.map(|ledger| std::thread::spawn(move || ledger.hand_over()));
    serving.finish_by(deadline);
    serving.join();
    if hand_over.is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("the thread that hands the state file over panicked");
    }
}

/// The other processes that may listen on our addresses: the owner of the state file, the process that gave it to us,
/// or none.
fn neighbours(config: &Config, ledger: Option<&Ledger>) -> Neighbours {
    match ledger {
        Some(ledger) if !ledger.is_owned() => Neighbours::Owner,
        Some(ledger) if ledger.other_runs() => Neighbours::Predecessor,
        _ if config.drain.handover => Neighbours::Predecessor,
        _ => Neighbours::None,
    }
}

/// Number of worker threads.
fn workers(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    config.workers.map_or_else(cores, NonZeroUsize::get)
}

fn listen(
    config: &Config,
    mut inherited: Inherited,
    ledger: Option<&Ledger>,
    workers: usize,
) -> Result<(Listeners, TcpListener), RunError> {
    let neighbours = neighbours(config, ledger);
    server::allow_open_files(config, workers);
    let certificates = Certificates::read(&config.listeners);
    // The configuration was checked with these certificates a moment ago, so more than one fault is unlikely; the first
    // one is reported.
    let certificates = certificates.map_err(|mut faults| StartError::from(faults.swap_remove(0)))?;
    let listeners = Listeners::bind(&config.listeners, certificates, (&mut inherited, neighbours, workers))?;
    let admin_listener = match inherited.take(config.admin.address) {
        Some(socket) => socket,
        None => server::listen(config.admin.address, neighbours)?,
    };
    let admin_listener = TcpListener::from_std(admin_listener)?;
    inherited.all_taken()?;
    let reserved: Vec<_> = listeners.reserved().collect();
    let is_reserved = |address: &SocketAddr| reserved.contains(address);
    let listening = listeners.addresses().filter(|address| !is_reserved(address));
    listening.for_each(|address| tracing::info!(%address, "listening"));
    for address in &reserved {
        tracing::info!(%address, "not listening until the process that owns the state file leaves");
    }
    tracing::info!(address = %admin_listener.local_addr()?, "admin listening");
    Ok((listeners, admin_listener))
}

fn empty_budgets(config: &Config) -> Arc<Budgets> {
    Arc::new(Budgets::shared(config.shared_budgets.as_ref().map(|shared| shared.shares)))
}

/// The store if replicas share budgets, once it is known whether it answers.
fn start_store(config: &Config, budgets: &Budgets) -> Result<Option<Arc<Store>>, StoreError> {
    let Some(shared) = &config.shared_budgets else { return Ok(None) };
    let store = Store::start(shared, budgets.own_parts())?;
    store.wait_for_first_look();
    Ok(Some(store))
}

fn open_ledger(
    config: &Config,
    clock: Clock,
    budgets: &Arc<Budgets>,
) -> Result<Option<Arc<Ledger>>, LedgerError> {
    if config.state_file.is_none() && config.shared_budgets.is_none() {
        tracing::warn!("budgets start empty: calls that were made before this start are not counted");
    }
    config.state_file.as_ref().map(|path| Ledger::open(path, clock, budgets)).transpose()
}

async fn reload_at(mut hangup: Signal, reloads: Reloads, admin: Arc<admin::AdminState>) {
    while hangup.recv().await.is_some() {
        service_manager::notify(ServiceState::Reloading);
        // The outcome is in the log.
        let _ = reloads.ask("SIGHUP").await;
        if admin.ready().is_ok() {
            service_manager::notify(ServiceState::Ready);
        }
    }
}

/// Notifies the service manager when the gateway is ready.
async fn notify_when_ready(admin: Arc<admin::AdminState>) {
    if let (Err(why), Some(ledger)) = (admin.ready(), &admin.ledger) {
        service_manager::notify(ServiceState::Waiting(&why.to_string()));
        ledger.settled().await;
    }
    if admin.ready().is_ok() {
        service_manager::notify(ServiceState::Ready);
    }
}

/// Notifies the service manager regularly that all workers run, if it has a watchdog.
async fn notify_while_alive(liveness: Arc<Liveness>) {
    let Some(longest) = service_manager::watchdog() else { return };
    let mut ticks = tokio::time::interval(longest / 4);
    loop {
        ticks.tick().await;
        if liveness.all_within(longest.max(STUCK_AFTER_MIN), Instant::now()) {
            service_manager::notify(ServiceState::Alive);
        } else {
            tracing::error!("a worker does not run its tasks: the service manager is not notified");
        }
    }
}
