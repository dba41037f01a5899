//! Lines on their way to a log: formatted once into a buffer of the worker's, and written by one thread.
//!
//! A `tracing` event a request was measured at 18-20 % of the CPU of a push; this is about 3 %.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A buffer this full is written at once.
const FULL_BYTES: usize = 64 * 1024;
/// A buffer this full takes no more lines: whatever takes the log has stopped taking it.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// The longest a line waits to be written.
const LINGER: Duration = Duration::from_millis(100);
/// How soon lines that could not be written are tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Where lines end up.
pub trait Sink: Send + 'static {
    /// Writes whole lines and takes out of the buffer what need not be offered again. While something is left, lines
    /// queue up in the lanes.
    fn write(&mut self, lines: &mut Vec<u8>);

    /// So many lines will never be offered: too many were waiting, or the process ends.
    fn lost(&mut self, lines: u64);
}

/// One worker's buffer of lines.
pub struct Lane {
    buffer: Mutex<Vec<u8>>,
    wake: SyncSender<()>,
    lost: AtomicU64,
}

impl Lane {
    /// Adds a line, without its newline. Lost, and counted, if nobody takes the log.
    pub fn write(&self, line: impl FnOnce(&mut Vec<u8>)) {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = buffer.len();
        if before > MAX_BYTES {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        line(&mut buffer);
        buffer.push(b'\n');
        if before == 0 || (before < FULL_BYTES && buffer.len() >= FULL_BYTES) {
            self.wake();
        }
    }

    /// Has the writer look soon.
    pub(super) fn wake(&self) {
        // A full channel means that the writer is about to look anyway.
        let _ = self.wake.try_send(());
    }
}

/// The writing thread with its lanes. Dropped, it writes what is left.
pub struct LineLog {
    lanes: Vec<Arc<Lane>>,
    stop: Option<SyncSender<()>>,
    writer: Option<JoinHandle<()>>,
}

impl LineLog {
    /// Starts a thread of this name with this many lanes.
    pub fn start(name: &str, lanes: usize, sink: impl Sink) -> std::io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let (stop, stopped) = sync_channel(1);
        let lane =
            || Arc::new(Lane { buffer: Mutex::default(), wake: wake.clone(), lost: AtomicU64::new(0) });
        let lanes: Vec<_> = (0..lanes).map(|_| lane()).collect();
        let writer = Writer { lanes: lanes.clone(), woken, stopped, sink, batch: Vec::new() };
        let writer = std::thread::Builder::new().name(name.into()).spawn(|| writer.run())?;
        Ok(Self { lanes, stop: Some(stop), writer: Some(writer) })
    }

    /// The lane of one worker.
    pub fn lane(&self, worker: usize) -> Arc<Lane> {
        Arc::clone(&self.lanes[worker])
    }
}

impl Drop for LineLog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(lane) = self.lanes.first() {
            lane.wake();
        }
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

struct Writer<S> {
    lanes: Vec<Arc<Lane>>,
    woken: Receiver<()>,
    stopped: Receiver<()>,
    sink: S,
    /// Lines that are being written, or could not be.
    batch: Vec<u8>,
}

impl<S: Sink> Writer<S> {
    fn run(mut self) {
        loop {
            let woken = if self.batch.is_empty() {
                self.woken.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                self.woken.recv_timeout(RETRY)
            };
            if woken == Err(RecvTimeoutError::Disconnected) || self.stopping() {
                return self.end();
            }
            // Lines of the next moment go out with the first; a full buffer does not wait.
            if let Ok(()) | Err(RecvTimeoutError::Timeout) = self.woken.recv_timeout(LINGER) {
                self.flush();
            }
            if self.stopping() {
                return self.end();
            }
        }
    }

    fn stopping(&self) -> bool {
        self.stopped.try_recv() == Err(TryRecvError::Disconnected)
    }

    fn flush(&mut self) {
        let lost = self.lanes.iter().map(|lane| lane.lost.swap(0, Ordering::Relaxed)).sum();
        if lost > 0 {
            self.sink.lost(lost);
        }
        // What is left of the time before stands first; an empty batch lets a sink notice that it was changed.
        self.sink.write(&mut self.batch);
        for lane in &self.lanes {
            if !self.batch.is_empty() {
                return;
            }
            mem::swap(&mut self.batch, &mut *lane.buffer.lock().unwrap_or_else(PoisonError::into_inner));
            self.sink.write(&mut self.batch);
            // Memory that one busy moment needed is not kept for ever.
            if self.batch.is_empty() && self.batch.capacity() > 2 * FULL_BYTES {
                self.batch = Vec::new();
            }
        }
    }

    fn end(&mut self) {
        self.flush();
        let left =
            self.lanes.iter().map(|lane| count(&lane.buffer.lock().unwrap_or_else(PoisonError::into_inner)));
        let lost = count(&self.batch) + left.sum::<u64>();
        if lost > 0 {
            self.sink.lost(lost);
        }
    }
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// Takes lines only while it is open.
    #[derive(Clone, Default)]
    struct Gate {
        open: Arc<AtomicBool>,
        taken: Arc<Mutex<Vec<u8>>>,
        lost: Arc<AtomicU64>,
    }

    impl Sink for Gate {
        fn write(&mut self, lines: &mut Vec<u8>) {
            if self.open.load(Ordering::SeqCst) {
                self.taken.lock().expect("no panic").append(lines);
            }
        }

        fn lost(&mut self, lines: u64) {
            self.lost.fetch_add(lines, Ordering::SeqCst);
        }
    }

    #[test]
    fn lines_wait_within_a_bound_and_what_is_beyond_it_is_counted() {
        let gate = Gate::default();
        let log = LineLog::start("test", 2, gate.clone()).expect("a thread");
        let lanes = [log.lane(0), log.lane(1)];
        let line = vec![b'x'; 64 * 1024 - 1];
        // Room for one batch that is tried again and for two lanes.
        let room = 3 * (MAX_BYTES / (line.len() + 1) + 1);
        for lane in lanes.iter().cycle().take(4 * room) {
            lane.write(|buffer| buffer.extend_from_slice(&line));
        }
        gate.open.store(true, Ordering::SeqCst);
        drop(log);
        let taken = gate.taken.lock().expect("no panic");
        assert!(taken.split_inclusive(|byte| *byte == b'\n').all(|found| found.len() == line.len() + 1));
        let (written, lost) = (count(&taken), gate.lost.load(Ordering::SeqCst));
        assert_eq!(written + lost, 4 * room as u64);
        assert!(written <= room as u64 && lost > 0, "{written} {lost}");
    }

    #[test]
    fn what_nobody_takes_until_the_end_is_lost() {
        let gate = Gate::default();
        let log = LineLog::start("test", 1, gate.clone()).expect("a thread");
        for _ in 0..3 {
            log.lane(0).write(|buffer| buffer.extend_from_slice(b"line"));
        }
        drop(log);
        assert_eq!(gate.lost.load(Ordering::SeqCst), 3);
    }
}
