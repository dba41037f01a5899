//! The process log: lifecycle events and errors, on standard error.
//!
//! `tracing` formats an event where it happens and hands the line to the log's own thread, so that no caller waits for
//! the reader of the log. The format is chosen at the start; the level can be changed while the process runs.

use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::Instant;

use prometheus::IntCounter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use super::access::ErrorLog;
use super::log_writer::{Lane, LineLog};
use super::metrics::log_lost;
use crate::config::{LogFormat, LogLevel, LogSettings};

/// Environment variable with a filter in the syntax of `tracing-subscriber`, for settings that the configuration does
/// not offer.
const VARIABLE: &str = "JPUSH_GATEWAY_LOG";

/// The running log. Dropping it writes the remaining lines.
pub struct Log {
    lines: LineLog,
    level: Level,
    lost: IntCounter,
}

/// Changes the log level.
#[derive(Clone)]
pub struct Level(reload::Handle<EnvFilter, Registry>);

impl Log {
    /// Starts the process log, which also logs panics. A second start in the same process keeps the first log.
    pub fn start(settings: LogSettings) -> io::Result<Self> {
        let lost = log_lost();
        let lines = LineLog::start("log", 1, ErrorLog::new(io::stderr(), lost.clone()), lost.clone())?;
        let (filter, handle) = reload::Layer::new(filter(settings));
        let events = fmt::layer()
            .with_writer(ToLane(lines.lane(0)))
            .with_target(false)
            .with_ansi(false)
            // Otherwise a line that cannot be written is reported on standard error by a macro that panics.
            .log_internal_errors(false);
        let events = match settings.format {
            LogFormat::Text => events.boxed(),
            LogFormat::Json => events.json().flatten_event(true).with_current_span(false).boxed(),
        };
        if tracing_subscriber::registry().with(filter).with(events).try_init().is_ok() {
            std::panic::set_hook(Box::new(log_panic));
            if settings.level.is_none()
                && let Err(fault) = from_variable()
            {
                tracing::warn!(%fault, "the variable JPUSH_GATEWAY_LOG is ignored");
            }
        }
        Ok(Self { lines, level: Level(handle), lost })
    }

    /// The handle that a reload needs.
    pub fn level(&self) -> Level {
        self.level.clone()
    }

    /// The counter of lost lines of this log and the access log.
    pub fn lost(&self) -> &IntCounter {
        &self.lost
    }

    /// Writes the remaining lines, until `until` at the latest.
    pub fn end(&self, until: Instant) {
        self.lines.end(until);
    }
}

impl Level {
    /// Applies the level of these settings from now on.
    pub fn set(&self, settings: LogSettings) {
        // Fails only if no log is running, and then there is nothing to change.
        let _ = self.0.reload(filter(settings));
    }
}

/// The filter from the configuration, else from the variable, else `info`. The levels below `info` apply to the gateway
/// only: those of libraries describe their internals.
fn filter(settings: LogSettings) -> EnvFilter {
    match settings.level {
        Some(level @ (LogLevel::Error | LogLevel::Warn | LogLevel::Info)) => EnvFilter::new(level.as_str()),
        Some(level) => EnvFilter::new(format!("info,jpush_gateway={}", level.as_str())),
        None => from_variable().ok().flatten().unwrap_or_else(|| EnvFilter::new("info")),
    }
}

/// The reason why the variable is no filter. It shows nothing of the value, which may be meant for something else.
#[derive(Debug, thiserror::Error)]
enum FilterFault {
    #[error(
        "it is not UTF-8; write a level (error, warn, info, debug, trace, off) or a list such as info,jpush_gateway=debug"
    )]
    NotText,
    #[error(
        "{0}; write a level (error, warn, info, debug, trace, off) or a list such as info,jpush_gateway=debug"
    )]
    Syntax(ParseError),
    #[error(
        "it has no level for the gateway; write error, warn, info, debug, trace or off, or a list such as info,jpush_gateway=debug"
    )]
    NoLevel,
}

/// The filter in the variable; `None` if it is not set or empty.
fn from_variable() -> Result<Option<EnvFilter>, FilterFault> {
    let Some(value) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) else { return Ok(None) };
    let value = value.into_string().map_err(|_| FilterFault::NotText)?;
    let filter = EnvFilter::try_new(&value).map_err(FilterFault::Syntax)?;
    // A misspelt level is read as the name of a module.
    let directives = value.split(',').map(|directive| directive.rsplit('=').next().unwrap_or_default());
    let names_level = |level: &str| level.trim().parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
    if directives.into_iter().any(names_level) { Ok(Some(filter)) } else { Err(FilterFault::NoLevel) }
}

/// Logs the place of a panic. A formatted message is left out, because it can contain parts of a request.
fn log_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string);
    let message = info.payload().downcast_ref::<&'static str>();
    let thread = std::thread::current();
    tracing::error!(place, message, thread = thread.name(), "a thread panicked");
}

/// Makes the events of `tracing` write to a lane.
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
