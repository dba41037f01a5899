//! The log of what happens to the process: lifecycle and errors, on standard error.
//!
//! `tracing` formats an event where it happens and hands the line to the log's own thread, so that nobody waits for
//! whoever reads the log. Its text or JSON is chosen at the start; the level can be changed while the process runs.

use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::Instant;

use prometheus::IntCounter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use super::access::ErrorLog;
use super::log_writer::{Lane, LineLog};
use super::metrics::log_lost;
use crate::config::{LogFormat, LogLevel, LogSettings};

/// Levels in the form of `tracing-subscriber`, for those who need more than the configuration offers.
const VARIABLE: &str = "JPUSH_GATEWAY_LOG";

/// The running log. Dropped, it writes what is left.
pub struct Log {
    lines: LineLog,
    level: Level,
    lost: IntCounter,
}

/// Changes how much is logged.
#[derive(Clone)]
pub struct Level(reload::Handle<EnvFilter, Registry>);

impl Log {
    /// Starts the log of the process. Panics are told in it, too. A second start in one process keeps the first log.
    pub fn start(settings: LogSettings) -> io::Result<Self> {
        let lost = log_lost();
        let lines = LineLog::start("log", 1, ErrorLog::new(io::stderr(), lost.clone()), lost.clone())?;
        let (filter, handle) = reload::Layer::new(filter(settings));
        let events = fmt::layer()
            .with_writer(ToLane(lines.lane(0)))
            .with_target(false)
            .with_ansi(false)
            // Otherwise a line that cannot be written is told to standard error by a macro that panics.
            .log_internal_errors(false);
        let events = match settings.format {
            LogFormat::Text => events.boxed(),
            LogFormat::Json => events.json().flatten_event(true).with_current_span(false).boxed(),
        };
        if tracing_subscriber::registry().with(filter).with(events).try_init().is_ok() {
            std::panic::set_hook(Box::new(tell_panic));
        }
        Ok(Self { lines, level: Level(handle), lost })
    }

    /// What a reload needs.
    pub fn level(&self) -> Level {
        self.level.clone()
    }

    /// Lines of this log and of the access log that were lost.
    pub fn lost(&self) -> &IntCounter {
        &self.lost
    }

    /// Writes what is left, as far as that can be done until then.
    pub fn end(&self, until: Instant) {
        self.lines.end(until);
    }
}

impl Level {
    /// From now on as much is logged as these settings say.
    pub fn set(&self, settings: LogSettings) {
        // Without a log in use there is nothing to change.
        let _ = self.0.reload(filter(settings));
    }
}

/// What the configuration says, else what the variable says, else `info`. Libraries say little at any level: what they
/// tell below it is about their insides.
fn filter(settings: LogSettings) -> EnvFilter {
    match settings.level {
        Some(level @ (LogLevel::Error | LogLevel::Warn | LogLevel::Info)) => EnvFilter::new(level.as_str()),
        Some(level) => EnvFilter::new(format!("info,jpush_gateway={}", level.as_str())),
        None => EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new("info")),
    }
}

/// Tells where a panic was. A message that was put together is left out: it can hold a part of what was sent to us.
fn tell_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string);
    let message = info.payload().downcast_ref::<&'static str>();
    let thread = std::thread::current();
    tracing::error!(place, message, thread = thread.name(), "a thread panicked");
}

/// Gives every event a writer that takes its line to the log's thread.
struct ToLane(Arc<Lane>);

impl<'w> MakeWriter<'w> for ToLane {
    type Writer = &'w Lane;

    fn make_writer(&'w self) -> Self::Writer {
        &self.0
    }
}

impl Write for &Lane {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        Lane::write(self, |buffer| buffer.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line)));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
