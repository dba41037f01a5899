//! Log writing: each worker formats lines into its own buffer, and one thread writes them.
//!
//! One `tracing` event per request was measured at 18-20 % of the CPU of a push; this is about 3 %.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use crate::lock::lock;

/// A buffer with this many bytes is written at once.
const FULL_BYTES: usize = 256 * 1024;
/// A buffer with this many bytes accepts no more lines: the output has stopped accepting them.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// The longest time for which a line waits to be written together with others.
pub const LINGER: Duration = Duration::from_millis(100);
/// Pause before lines that could not be written are tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The least time that a log has to write its last lines at the end of the process.
pub const LAST_LINES: Duration = Duration::from_secs(1);

/// The destination of lines.
pub trait Sink: Send + 'static {
    /// Writes whole lines, and removes from the buffer what need not be offered again. While something is left, lines
    /// queue up in the lanes.
    fn write(&mut self, lines: &mut Vec<u8>);

    /// Reports that this many lines were lost, because too many were waiting or the process ends. They are counted
    /// already.
    fn lost(&mut self, lines: u64);

    /// The time for which a line waits to be written together with others.
    fn linger(&self) -> Duration {
        LINGER
    }
}

/// One worker's buffer of lines.
pub struct Lane {
    buffer: Mutex<Vec<u8>>,
    wake: SyncSender<()>,
    lost: Arc<LostLines>,
}

/// Lost lines. They are counted at the time of the loss, because the thread that writes the log may be stuck then.
struct LostLines {
    counter: IntCounter,
    unreported: AtomicU64,
}

impl LostLines {
    fn add(&self, lines: u64) {
        self.counter.inc_by(lines);
        self.unreported.fetch_add(lines, Ordering::Relaxed);
    }
}

impl Lane {
    /// Adds a line, given without its newline. The line is dropped and counted if the output accepts no more.
    pub fn write(&self, line: impl FnOnce(&mut Vec<u8>)) {
        let mut buffer = lock(&self.buffer);
        let before = buffer.len();
        if before > MAX_BYTES {
            self.lost.add(1);
            return;
        }
        line(&mut buffer);
        buffer.push(b'\n');
        if before == 0 || (before < FULL_BYTES && buffer.len() >= FULL_BYTES) {
            self.wake();
        }
    }

    /// Makes the writing thread look at the lanes soon.
    pub(super) fn wake(&self) {
        // A full channel means that the thread is about to look anyway.
        let _ = self.wake.try_send(());
    }
}

/// The writing thread and its lanes. Dropping it writes the remaining lines, for [`LAST_LINES`] at most.
pub struct LineLog {
    lanes: Vec<Arc<Lane>>,
    /// Dropping the sender tells the thread to end; the receiver is disconnected when the thread has ended.
    end: Mutex<Option<(SyncSender<()>, Receiver<()>)>>,
}

impl LineLog {
    /// Starts a thread of this name with this many lanes. `lost` counts the lines that never reach the sink.
    pub fn start(name: &str, lanes: usize, sink: impl Sink, lost: IntCounter) -> std::io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let (stop, stopped) = sync_channel(1);
        let (done, ended) = sync_channel(1);
        let lost = Arc::new(LostLines { counter: lost, unreported: AtomicU64::new(0) });
        let lane =
            || Arc::new(Lane { buffer: Mutex::default(), wake: wake.clone(), lost: Arc::clone(&lost) });
        let lanes: Vec<_> = (0..lanes).map(|_| lane()).collect();
        let writer = LineWriter { lanes: lanes.clone(), lost, woken, stopped, sink, batch: Vec::new() };
        std::thread::Builder::new().name(name.into()).spawn(move || {
            writer.run();
            drop(done);
        })?;
        Ok(Self { lanes, end: Mutex::new(Some((stop, ended))) })
    }

    /// The lane of one worker.
    pub fn lane(&self, worker: usize) -> Arc<Lane> {
        Arc::clone(&self.lanes[worker])
    }

    /// Writes the remaining lines, and drops them at `until`: the reader of the log may be stuck for good. Only the
    /// first call waits.
    pub fn end(&self, until: Instant) {
        let end = lock(&self.end).take();
        let Some((stop, ended)) = end else { return };
        drop(stop);
        if let Some(lane) = self.lanes.first() {
            lane.wake();
        }
        // The thread has ended when its side of the channel is dropped. A stuck thread ends with the process.
        let _ = ended.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

impl Drop for LineLog {
    fn drop(&mut self) {
        self.end(Instant::now() + LAST_LINES);
    }
}

struct LineWriter<S> {
    lanes: Vec<Arc<Lane>>,
    lost: Arc<LostLines>,
    woken: Receiver<()>,
    stopped: Receiver<()>,
    sink: S,
    /// Lines that are being written, or could not be written yet.
    batch: Vec<u8>,
}

impl<S: Sink> LineWriter<S> {
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
            // Lines of the next moments are written with the first one; a full buffer does not wait.
            if let Ok(()) | Err(RecvTimeoutError::Timeout) = self.woken.recv_timeout(self.sink.linger()) {
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
        let lost = self.lost.unreported.swap(0, Ordering::Relaxed);
        if lost > 0 {
            self.sink.lost(lost);
        }
        // Lines left over from before go first. An empty batch still calls the sink, so that it notices a reopened
        // file.
        self.sink.write(&mut self.batch);
        for lane in &self.lanes {
            if !self.batch.is_empty() {
                return;
            }
            mem::swap(&mut self.batch, &mut *lock(&lane.buffer));
            self.sink.write(&mut self.batch);
            // Memory that one busy moment needed is not kept forever.
            if self.batch.is_empty() && self.batch.capacity() > 2 * FULL_BYTES {
                self.batch = Vec::new();
            }
        }
    }

    fn end(&mut self) {
        self.flush();
        let left = self.lanes.iter().map(|lane| count(&lock(&lane.buffer)));
        let lost = count(&self.batch) + left.sum::<u64>();
        if lost > 0 {
            self.lost.counter.inc_by(lost);
            self.sink.lost(lost);
        }
    }
}

/// The number of lines in a buffer.
pub(super) fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// Accepts lines only while it is open.
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

    fn counter() -> IntCounter {
        IntCounter::new("lost", "Lines.").expect("a valid metric")
    }

    /// Never returns from its first write.
    struct Stuck;

    impl Sink for Stuck {
        fn write(&mut self, lines: &mut Vec<u8>) {
            while !lines.is_empty() {
                std::thread::park();
            }
        }

        fn lost(&mut self, _lines: u64) {}
    }

    #[test]
    fn whoever_is_stuck_is_given_up() {
        let lost = counter();
        let log = LineLog::start("test", 1, Stuck, lost.clone()).expect("a thread");
        let line = vec![b'x'; 1024 * 1024];
        for _ in 0..20 {
            log.lane(0).write(|buffer| buffer.extend_from_slice(&line));
        }
        assert!(lost.get() > 0, "counted although the writer never came to it");
        log.end(Instant::now());
    }

    #[test]
    fn lines_wait_within_a_bound_and_what_is_beyond_it_is_counted() {
        let gate = Gate::default();
        let counter = counter();
        let log = LineLog::start("test", 2, gate.clone(), counter.clone()).expect("a thread");
        let lanes = [log.lane(0), log.lane(1)];
        let line = vec![b'x'; 64 * 1024 - 1];
        // The room for one batch that is tried again, and for two lanes.
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
        assert_eq!(counter.get(), lost);
    }

    #[test]
    fn what_nobody_takes_until_the_end_is_lost() {
        let gate = Gate::default();
        let log = LineLog::start("test", 1, gate.clone(), counter()).expect("a thread");
        for _ in 0..3 {
            log.lane(0).write(|buffer| buffer.extend_from_slice(b"line"));
        }
        drop(log);
        assert_eq!(gate.lost.load(Ordering::SeqCst), 3);
    }
}
