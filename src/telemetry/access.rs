//! The access log's writer: lines are formatted once into a buffer of the worker's, and written by one thread.
//!
//! A `tracing` event a request was measured at 18-20 % of the CPU of a push; this is about 3 %.

use std::io::Write;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A buffer this full is written at once.
const FULL_BYTES: usize = 64 * 1024;
/// A buffer this full takes no more lines: whatever reads the log has stopped reading.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// The longest a line waits to be written.
const LINGER: Duration = Duration::from_millis(100);

/// One worker's buffer of access lines.
pub struct Lane {
    buffer: Mutex<Vec<u8>>,
    wake: SyncSender<()>,
    lost: AtomicU64,
}

impl Lane {
    /// Adds a line, without its newline. Lost, and counted, if nobody reads the log.
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
            // A full channel means that the writer is about to look anyway.
            let _ = self.wake.try_send(());
        }
    }
}

/// The writing thread with its lanes. Dropped, it writes what is left.
pub struct AccessLog {
    lanes: Vec<Arc<Lane>>,
    stop: Option<SyncSender<()>>,
    writer: Option<JoinHandle<()>>,
}

impl AccessLog {
    /// Starts the thread with this many lanes.
    pub fn start(lanes: usize, sink: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let (stop, stopped) = sync_channel(1);
        let lane =
            || Arc::new(Lane { buffer: Mutex::default(), wake: wake.clone(), lost: AtomicU64::new(0) });
        let lanes: Vec<_> = (0..lanes).map(|_| lane()).collect();
        let writer = Writer { lanes: lanes.clone(), woken, stopped, sink };
        let writer = std::thread::Builder::new().name("access-log".into()).spawn(|| writer.run())?;
        Ok(Self { lanes, stop: Some(stop), writer: Some(writer) })
    }

    /// The lane of one worker.
    pub fn lane(&self, worker: usize) -> Arc<Lane> {
        Arc::clone(&self.lanes[worker])
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(lane) = self.lanes.first() {
            let _ = lane.wake.try_send(());
        }
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

struct Writer<W> {
    lanes: Vec<Arc<Lane>>,
    woken: Receiver<()>,
    stopped: Receiver<()>,
    sink: W,
}

impl<W: Write> Writer<W> {
    fn run(mut self) {
        let mut spare = Vec::new();
        loop {
            let first_line = self.woken.recv();
            let stopping = |this: &Self| {
                matches!(this.stopped.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected))
            };
            if first_line.is_err() || stopping(&self) {
                return self.flush(&mut spare);
            }
            // Lines of the next moment go out with the first; a full buffer does not wait.
            if let Ok(()) | Err(RecvTimeoutError::Timeout) = self.woken.recv_timeout(LINGER) {
                self.flush(&mut spare);
            }
            if stopping(&self) {
                return self.flush(&mut spare);
            }
        }
    }

    fn flush(&mut self, spare: &mut Vec<u8>) {
        for lane in &self.lanes {
            spare.clear();
            mem::swap(spare, &mut *lane.buffer.lock().unwrap_or_else(PoisonError::into_inner));
            let lost = lane.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                tracing::warn!(lines = lost, "access lines were lost: the log was not read fast enough");
            }
            if let Err(error) = self.sink.write_all(spare).and_then(|()| self.sink.flush()) {
                tracing::warn!(%error, "access lines could not be written");
            }
            // Memory that one busy moment needed is not kept for ever.
            if spare.capacity() > 2 * FULL_BYTES {
                *spare = Vec::new();
            }
        }
    }
}
