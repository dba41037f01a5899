//! Replacing the configuration while the gateway serves: as a whole, or not at all.
//!
//! One thread does it: on SIGHUP, on a request to the admin listener, and when a configuration file changes. The steps
//! that can fail come first. Then budgets get their new limits, and every core gets a new worker; a request that is
//! being served keeps the worker it started with.

mod changes;
mod source;
mod watch;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, Guard};
use serde::Serialize;
use tokio::sync::oneshot;

use changes::Fixed;
pub use source::ConfigSource;
use source::LoadedConfig;
use watch::Watched;

use crate::active_config::{self, ActiveConfig};
use crate::admission::Admission;
use crate::budget::{Budgets, Clock};
use crate::causes::Causes;
use crate::config::{Config, Drain};
use crate::server::{Certificates, CurrentWorker, Handshakes};
use crate::telemetry::audit::Reopening;
use crate::telemetry::log::Level;
use crate::telemetry::metrics::Metrics;

/// Interval between two looks at the files. A change is applied when two looks in a row see the same contents, so that
/// no file is read while it is being written.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The pause after a look, in multiples of the time it took. So looks at very many files take 2 % of a core at most.
const PAUSE_FOR_LOOK: u32 = 50;
/// The longest pause, for a file system that is slow for a moment.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Interval between log lines about certificates that expire soon.
const REMIND_EVERY: Duration = Duration::from_hours(24);
/// Interval between looks for budgets that nobody uses any more.
const FORGET_EVERY: Duration = Duration::from_mins(1);

/// The configuration in use, for the admin pages and the drain.
pub struct Current {
    /// The resolved configuration that requests use.
    pub active: Arc<ActiveConfig>,
    /// SHA-256 of the configuration file and those that it includes.
    pub digest: String,
    /// Time at which it came into use.
    pub loaded: SystemTime,
    /// The settings for stopping the process.
    pub drain: Drain,
}

impl Current {
    /// Wraps a configuration that comes into use now.
    pub fn new(config: &Config, active: Arc<ActiveConfig>) -> Self {
        Self { active, digest: config.digest.clone(), loaded: SystemTime::now(), drain: config.drain.clone() }
    }
}

/// The outcome of a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum ReloadOutcome {
    /// The new configuration is in use.
    Success {
        /// The differences from the configuration before.
        changed: Vec<String>,
        /// Changed keys whose new value needs a restart.
        needs_restart: Vec<&'static str>,
    },
    /// The configuration before stays in use.
    Failure {
        /// Every fault that was found, one text for each.
        faults: Vec<String>,
    },
}

/// The parts of the process that a reload changes.
pub struct Parts {
    /// The current worker of every core.
    pub current_workers: Vec<Arc<CurrentWorker>>,
    /// TLS of the listeners.
    pub handshakes: Handshakes,
    /// The limits on requests, bodies and connections.
    pub admission: Arc<Admission>,
    /// The budgets, which get the new limits.
    pub budgets: Arc<Budgets>,
    /// The clock of the budgets.
    pub clock: Clock,
    /// The metrics that count reloads.
    pub metrics: Arc<Metrics>,
    /// The audit log, whose file may have been rotated.
    pub audit: Option<Reopening>,
    /// The level of the process log.
    pub level: Level,
}

/// A handle for requesting reloads and reading the configuration in use.
#[derive(Clone)]
pub struct Reloads {
    orders: Sender<ReloadRequest>,
    current: Arc<ArcSwap<Current>>,
}

struct ReloadRequest {
    trigger: &'static str,
    reply: oneshot::Sender<ReloadOutcome>,
}

impl Reloads {
    /// Starts the thread that reloads. It ends when every handle is dropped.
    pub fn start(source: ConfigSource, current: Current, parts: Parts) -> std::io::Result<Self> {
        let (orders, taken) = channel();
        let current = Arc::new(ArcSwap::from_pointee(current));
        let fixed = Fixed::of(&source.config);
        let timer = |every| Timer::starting(Instant::now(), every);
        let reloader = Reloader {
            source,
            fixed,
            parts,
            current: Arc::clone(&current),
            settling: None,
            pause: LOOK_EVERY,
            daily: timer(REMIND_EVERY),
            each_minute: timer(FORGET_EVERY),
        };
        reloader.report_certificates();
        std::thread::Builder::new().name("reload".into()).spawn(move || reloader.run(&taken))?;
        Ok(Self { orders, current })
    }

    /// The configuration in use.
    pub fn current(&self) -> Guard<Arc<Current>> {
        self.current.load()
    }

    /// Reloads and waits for the outcome; `None` if the thread has ended.
    pub async fn ask(&self, trigger: &'static str) -> Option<ReloadOutcome> {
        let (reply, outcome) = oneshot::channel();
        self.orders.send(ReloadRequest { trigger, reply }).ok()?;
        outcome.await.ok()
    }
}

/// The state of the thread that reloads.
struct Reloader {
    source: ConfigSource,
    /// The settings that the process was started with and keeps.
    fixed: Fixed,
    parts: Parts,
    current: Arc<ArcSwap<Current>>,
    /// What the last look saw, if it was new.
    settling: Option<Watched>,
    /// The time until the next look.
    pause: Duration,
    /// The time of the next log lines about certificates.
    daily: Timer,
    /// The time of the next look for budgets that nobody uses any more.
    each_minute: Timer,
}

impl Reloader {
    fn run(mut self, orders: &Receiver<ReloadRequest>) {
        loop {
            match orders.recv_timeout(self.pause) {
                Ok(order) => {
                    let outcome = self.reload(order.trigger);
                    // The requester may have gone; the outcome is in the log as well.
                    let _ = order.reply.send(outcome);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.look();
                    if self.daily.is_due(Instant::now()) {
                        self.report_certificates();
                    }
                    if self.each_minute.is_due(Instant::now()) {
                        self.forget_unused();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Gives back the memory of budgets whose tenants are gone.
    fn forget_unused(&self) {
        self.parts.budgets.forget_unused(self.parts.clock.now());
    }

    /// Updates the metric of certificate expiry, and logs the certificates that expire soon.
    fn report_certificates(&self) {
        let handshakes = &self.parts.handshakes;
        let in_use = handshakes.in_use();
        let ends = in_use.iter().map(|one| (&*one.listener, &*one.name, one.not_after_seconds));
        self.parts.metrics.tls.certificates(ends);
        for notice in handshakes.notices(SystemTime::now()) {
            if notice.is_urgent {
                tracing::error!("{}", notice.text);
            } else {
                tracing::warn!("{}", notice.text);
            }
        }
    }

    fn look(&mut self) {
        let start = Instant::now();
        let seen = self.source.look().filter(|seen| *seen != self.source.seen);
        self.pause = (start.elapsed() * PAUSE_FOR_LOOK).clamp(LOOK_EVERY, PAUSE_MAX);
        if seen.is_some() && seen == self.settling {
            self.reload("file change");
        } else {
            self.settling = seen;
        }
    }

    fn reload(&mut self, trigger: &'static str) -> ReloadOutcome {
        self.settling = None;
        // Those of the configuration before last: reloads can follow each other without a pause.
        self.forget_unused();
        let outcome = match self.take_in_use() {
            Ok((changed, needs_restart)) => ReloadOutcome::Success { changed, needs_restart },
            Err(faults) => ReloadOutcome::Failure { faults },
        };
        match &outcome {
            ReloadOutcome::Success { changed, needs_restart } => {
                self.parts.metrics.reloaded(Ok(()));
                let Config { digest, parsed, .. } = &self.source.config;
                let (files, files_parsed, changed) = (parsed.count(), parsed.anew(), changed.join("; "));
                tracing::info!(
                    trigger,
                    changed,
                    digest,
                    files,
                    files_parsed,
                    "the configuration was reloaded"
                );
                for key in needs_restart {
                    tracing::warn!("{key}: the new value needs a restart");
                }
                for warning in &self.source.config.warnings {
                    tracing::warn!("{warning}");
                }
                self.report_certificates();
            }
            ReloadOutcome::Failure { faults } => {
                self.parts.metrics.reloaded(Err(()));
                tracing::error!(trigger, "the configuration was not reloaded; the one before stays in use");
                for fault in faults {
                    tracing::error!("{fault}");
                }
            }
        }
        outcome
    }

    fn take_in_use(&mut self) -> Result<(Vec<String>, Vec<&'static str>), Vec<String>> {
        let LoadedConfig { config, seen } = self.source.read()?;
        let ready = config.and_then(|config| {
            let certificates = Certificates::read(&config.listeners);
            let audit = self.parts.audit.as_ref().map(Reopening::open).transpose();
            let (connector, certificates, audit) =
                match (active_config::connector(&config), certificates, audit) {
                    (Ok(connector), Ok(certificates), Ok(audit)) => {
                        (connector, certificates, audit.flatten())
                    }
                    (connector, certificates, audit) => {
                        let mut faults: Vec<_> = connector.err().iter().map(line).collect();
                        faults.extend(certificates.err().iter().flatten().map(line));
                        faults.extend(audit.err().iter().map(line));
                        return Err(faults);
                    }
                };
            Ok((config, connector, certificates, audit))
        });
        let (config, connector, certificates, audit) = match ready {
            Ok(ready) => ready,
            Err(faults) => {
                // The looks are kept, or every look would find the same faulty files again.
                self.source.seen.extend(seen);
                return Err(faults);
            }
        };
        // Nothing fails from here on.
        let Parts { current_workers, handshakes, admission, budgets, metrics, level, .. } = &self.parts;
        level.set(config.log);
        if let Some(log) = &self.parts.audit {
            log.take_in_use(audit);
        }
        let previous = &self.current.load().active;
        let active = Arc::new(previous.followed_by(&config, budgets, connector, self.parts.clock.now()));
        admission.resize(&config.limits);
        for current_worker in current_workers {
            current_worker.store(Arc::new(current_worker.load().followed_by(&active)));
        }
        handshakes.replace(certificates);
        metrics.keep_only(&active.directory);
        self.current.store(Arc::new(Current::new(&config, active)));
        let changed = changes::between((&self.source.config, &self.source.seen), (&config, &seen));
        let needs_restart = self.fixed.changed_in(&config);
        self.source.take_in_use(config, seen);
        Ok((changed, needs_restart))
    }
}

/// A timer that is due again and again.
struct Timer {
    next: Instant,
    every: Duration,
}

impl Timer {
    fn starting(now: Instant, every: Duration) -> Self {
        Self { next: now + every, every }
    }

    /// Whether the timer is due; if so, it starts again.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + self.every;
        }
        due
    }
}

/// An error with its causes, on one line.
fn line(error: &(impl std::error::Error + 'static)) -> String {
    Causes(error).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_told_of_once_a_day() {
        let start = Instant::now();
        let mut daily = Timer::starting(start, REMIND_EVERY);
        let hours = |hours| start + Duration::from_hours(hours);
        let due = [1, 23, 24, 25, 47, 48, 49, 100, 123, 124].map(|hour| daily.is_due(hours(hour)));
        assert_eq!(due, [false, false, true, false, false, true, false, true, false, true]);
    }
}
