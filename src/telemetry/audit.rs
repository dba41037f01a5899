//! The audit log: one line for every call that had, or may have had, an effect at the vendor.
//!
//! A line is never dropped silently. A line that cannot be written is kept and tried again; when too many are waiting,
//! lost lines are counted and logged. Calls never wait for the log.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use prometheus::IntCounter;

use super::log_writer::{Lane, LineLog, Sink};
use crate::config::{Audit, may_create};
use crate::lock::lock;

/// The audit log's file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("audit.file: the file {path:?} cannot be opened")]
pub struct AuditError {
    path: PathBuf,
    source: io::Error,
}

/// The running audit log. Dropping it writes the remaining lines.
pub struct AuditLog {
    log: LineLog,
    reopening: Reopening,
}

/// Reopens the log's file after it was rotated.
#[derive(Clone)]
pub struct Reopening {
    /// The path of the file; `None` for standard error, which is not rotated.
    path: Option<PathBuf>,
    next: Arc<Mutex<Option<File>>>,
    lane: Arc<Lane>,
}

impl AuditLog {
    /// Opens the log and starts its thread. `lost` counts lost lines.
    pub fn start(audit: &Audit, lanes: usize, lost: IntCounter) -> Result<Self, AuditError> {
        let (path, out) = match audit {
            Audit::Stderr => (None, AuditOutput::Stderr),
            Audit::File(path) => (Some(path.clone()), AuditOutput::File(open(path)?)),
        };
        let next = Arc::default();
        let sink = AuditSink { out, next: Arc::clone(&next), written: 0, failing: false };
        let log = LineLog::start("audit", lanes, sink, lost)
            .map_err(|source| AuditError { path: path.clone().unwrap_or_default(), source })?;
        let lane = log.lane(0);
        Ok(Self { log, reopening: Reopening { path, next, lane } })
    }

    /// The lane of one worker.
    pub fn lane(&self, worker: usize) -> Arc<Lane> {
        self.log.lane(worker)
    }

    /// Writes the remaining lines, until `until` at the latest.
    pub fn end(&self, until: Instant) {
        self.log.end(until);
    }

    /// The handle that a reload needs.
    pub fn reopening(&self) -> Reopening {
        self.reopening.clone()
    }
}

impl Reopening {
    /// Opens the file again. The log uses it after [`Self::take_in_use`].
    pub fn open(&self) -> Result<Option<File>, AuditError> {
        self.path.as_deref().map(open).transpose()
    }

    /// Makes the log write to this file from the next line on.
    pub fn take_in_use(&self, file: Option<File>) {
        if let Some(file) = file {
            *lock(&self.next) = Some(file);
            self.lane.wake();
        }
    }
}

/// Checks that the log could be opened, without creating the file.
pub fn probe(audit: &Audit) -> Result<(), AuditError> {
    let Audit::File(path) = audit else { return Ok(()) };
    match open_with(OpenOptions::new().append(true), path) {
        // A start would create the file.
        Err(error) if error.source.kind() == ErrorKind::NotFound => {
            may_create(path).map_err(|source| AuditError { source, ..error })
        }
        opened => opened.map(drop),
    }
}

fn open(path: &Path) -> Result<File, AuditError> {
    // Readable by its owner only, because it tells who sends what.
    open_with(OpenOptions::new().append(true).create(true).mode(0o600), path)
}

fn open_with(options: &OpenOptions, path: &Path) -> Result<File, AuditError> {
    let opened = match std::fs::metadata(path) {
        // Checked before opening, because opening a pipe blocks until it has a reader.
        Ok(known) if !known.is_file() => Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file")),
        _ => options.open(path),
    };
    opened.map_err(|source| AuditError { path: path.to_owned(), source })
}

enum AuditOutput {
    Stderr,
    File(File),
}

impl AuditOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            // One write for all, so that no line of the process log gets in between, unless standard error is
            // non-blocking.
            Self::Stderr => io::stderr().write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }
}

struct AuditSink {
    out: AuditOutput,
    next: Arc<Mutex<Option<File>>>,
    /// Bytes of the waiting lines that are already in the present file: whole lines, and a part of one.
    written: usize,
    failing: bool,
}

impl Sink for AuditSink {
    fn write(&mut self, lines: &mut Vec<u8>) {
        if let Some(file) = lock(&self.next).take() {
            self.out = AuditOutput::File(file);
            // The old file may have a part of a line; the new file gets the whole line.
            self.written = 0;
        }
        let outcome = self.write_rest(lines);
        let whole = memchr::memrchr(b'\n', &lines[..self.written]).map_or(0, |end| end + 1);
        lines.drain(..whole);
        self.written -= whole;
        if let Err(error) = &outcome
            && !self.failing
        {
            tracing::error!(%error, "audit lines cannot be written; they wait in memory and are tried again");
        }
        if outcome.is_ok() && self.failing {
            tracing::info!("audit lines are written again");
        }
        self.failing = outcome.is_err();
    }

    fn lost(&mut self, lines: u64) {
        tracing::error!(lines, "audit lines are lost: they could not be written in time");
    }
}

impl AuditSink {
    fn write_rest(&mut self, lines: &[u8]) -> io::Result<()> {
        while self.written < lines.len() {
            match self.out.write(&lines[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => self.written += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
