//! Taking another configuration in use while the gateway serves: all of it, or nothing.
//!
//! One thread does it, on SIGHUP, at the admin listener's request, and when a file it read has another content. What
//! can fail comes first. Then budgets get their new sizes, and every core gets a new worker; a request that is under
//! way keeps the one it began with.

mod changes;
mod source;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, Guard};
use serde::Serialize;
use tokio::sync::oneshot;

use changes::Fixed;
pub use source::ConfigSource;
use source::{FileDigests, LoadedConfig};

use crate::active_config::{self, ActiveConfig};
use crate::admission::Admission;
use crate::budget::Budgets;
use crate::causes::Causes;
use crate::config::{Config, Drain};
use crate::server::{Certificates, CurrentWorker, Handshakes};
use crate::telemetry::audit::Reopening;
use crate::telemetry::log::Level;
use crate::telemetry::metrics::Metrics;

/// How often files are looked at. A change is taken up when two looks in a row agree on it, so that no file is read
/// while it is being written.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often operators are told of certificates that are about to end.
const REMIND_EVERY: Duration = Duration::from_hours(24);

/// The configuration in use, for those who tell about it.
pub struct Current {
    /// What requests look up.
    pub active: Arc<ActiveConfig>,
    /// SHA-256 of the configuration file.
    pub digest: String,
    /// When it was taken in use.
    pub loaded: SystemTime,
    /// How a stop goes.
    pub drain: Drain,
}

impl Current {
    /// A configuration that is taken in use now.
    pub fn new(config: &Config, active: Arc<ActiveConfig>) -> Self {
        Self { active, digest: config.digest.clone(), loaded: SystemTime::now(), drain: config.drain.clone() }
    }
}

/// How a reload went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum ReloadOutcome {
    /// The file is in use.
    Success {
        /// What is different now.
        changed: Vec<String>,
        /// Keys of which the running process still has the old value.
        needs_restart: Vec<&'static str>,
    },
    /// Nothing is different.
    Failure {
        /// Why: every fault, a line each.
        faults: Vec<String>,
    },
}

/// What a reload changes.
pub struct Parts {
    /// The worker of every core.
    pub current_workers: Vec<Arc<CurrentWorker>>,
    /// TLS of the listeners.
    pub handshakes: Handshakes,
    /// Limits on everything at once.
    pub admission: Arc<Admission>,
    /// All budgets.
    pub budgets: Arc<Budgets>,
    /// Where the outcome is counted.
    pub metrics: Arc<Metrics>,
    /// The audit log, whose file may have been moved away.
    pub audit: Option<Reopening>,
    /// How much is logged.
    pub level: Level,
}

/// Asks for reloads, and knows the configuration in use.
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
    /// Starts the thread that reloads. It ends when nobody can ask it any more.
    pub fn start(source: ConfigSource, current: Current, parts: Parts) -> std::io::Result<Self> {
        let (orders, taken) = channel();
        let current = Arc::new(ArcSwap::from_pointee(current));
        let fixed = Fixed::of(&source.config);
        let daily = Daily::after(Instant::now());
        let reloader =
            Reloader { source, fixed, parts, current: Arc::clone(&current), settling: None, daily };
        reloader.tell_of_certificates();
        std::thread::Builder::new().name("reload".into()).spawn(move || reloader.run(&taken))?;
        Ok(Self { orders, current })
    }

    /// The configuration in use.
    pub fn current(&self) -> Guard<Arc<Current>> {
        self.current.load()
    }

    /// Reloads. `None` if the thread is gone.
    pub async fn ask(&self, trigger: &'static str) -> Option<ReloadOutcome> {
        let (reply, outcome) = oneshot::channel();
        self.orders.send(ReloadRequest { trigger, reply }).ok()?;
        outcome.await.ok()
    }
}

/// The thread that reloads.
struct Reloader {
    source: ConfigSource,
    /// What the process was started with and keeps.
    fixed: Fixed,
    parts: Parts,
    current: Arc<ArcSwap<Current>>,
    /// What the last look saw, if it was new.
    settling: Option<FileDigests>,
    /// When operators are told of certificates again.
    daily: Daily,
}

impl Reloader {
    fn run(mut self, orders: &Receiver<ReloadRequest>) {
        loop {
            match orders.recv_timeout(LOOK_EVERY) {
                Ok(order) => {
                    let outcome = self.reload(order.trigger);
                    // Who asked may have gone; the log has it too.
                    let _ = order.reply.send(outcome);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.look();
                    if self.daily.is_due(Instant::now()) {
                        self.tell_of_certificates();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// When the certificates in use end, as a metric, and in the log where that is soon.
    fn tell_of_certificates(&self) {
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
        let seen = self.source.look().filter(|seen| *seen != self.source.seen);
        if seen.is_some() && seen == self.settling {
            self.reload("file change");
        } else {
            self.settling = seen;
        }
    }

    fn reload(&mut self, trigger: &'static str) -> ReloadOutcome {
        self.settling = None;
        let outcome = match self.take_in_use() {
            Ok((changed, needs_restart)) => ReloadOutcome::Success { changed, needs_restart },
            Err(faults) => ReloadOutcome::Failure { faults },
        };
        match &outcome {
            ReloadOutcome::Success { changed, needs_restart } => {
                self.parts.metrics.reloaded(Ok(()));
                let (changed, digest) = (changed.join("; "), &self.source.config.digest);
                tracing::info!(trigger, changed, digest, "the configuration was reloaded");
                for key in needs_restart {
                    tracing::warn!("{key}: the new value needs a restart");
                }
                for warning in &self.source.config.warnings {
                    tracing::warn!("{warning}");
                }
                self.tell_of_certificates();
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
                // What was read stays known, or the same faults would be found again at every look.
                self.source.seen.extend(seen);
                return Err(faults);
            }
        };
        // From here on nothing fails.
        let Parts { current_workers, handshakes, admission, budgets, level, .. } = &self.parts;
        level.set(config.log);
        if let Some(log) = &self.parts.audit {
            log.take_in_use(audit);
        }
        let previous = &self.current.load().active;
        let active = Arc::new(ActiveConfig::after(Some(previous), &config, budgets, connector));
        admission.resize(&config.limits);
        for current_worker in current_workers {
            current_worker.store(Arc::new(current_worker.load().followed_by(&active)));
        }
        handshakes.replace(certificates);
        self.current.store(Arc::new(Current::new(&config, active)));
        let changed = changes::between((&self.source.config, &self.source.seen), (&config, &seen));
        let needs_restart = self.fixed.changed_in(&config);
        self.source.take_in_use(config, seen);
        Ok((changed, needs_restart))
    }
}

/// Once a day.
struct Daily {
    next: Instant,
}

impl Daily {
    fn after(now: Instant) -> Self {
        Self { next: now + REMIND_EVERY }
    }

    /// Whether it is time, which it then is not for another day.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            *self = Self::after(now);
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
        let mut daily = Daily::after(start);
        let hours = |hours| start + Duration::from_hours(hours);
        let due = [1, 23, 24, 25, 47, 48, 49, 100, 123, 124].map(|hour| daily.is_due(hours(hour)));
        assert_eq!(due, [false, false, true, false, false, true, false, true, false, true]);
    }
}
