//! Logs that may lose lines: a line that cannot be written is counted and dropped, so that no lines queue up behind it.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use prometheus::IntCounter;

use super::log_writer::{LINGER, Sink, count};

/// The pause before another write to a non-blocking output that is full.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// The sink of the access log.
pub struct AccessLog<W> {
    out: LogStream<W>,
    failing: bool,
}

/// The sink of the process log. It cannot log its own failures.
pub(super) struct ErrorLog<W>(LogStream<W>);

/// An output and its state.
struct LogStream<W> {
    out: W,
    lost: IntCounter,
    /// Whether the output ends in the middle of a line.
    cut: bool,
}

impl<W: Write> LogStream<W> {
    fn new(out: W, lost: IntCounter) -> Self {
        Self { out, lost, cut: false }
    }

    /// Writes lines; those that cannot be written are dropped and counted.
    fn write(&mut self, lines: &mut Vec<u8>) -> io::Result<()> {
        let mut written = 0;
        let outcome = self.write_from(&mut written, lines);
        if outcome.is_err() {
            let rest = &lines[written..];
            self.cut |= written > 0 && lines[written - 1] != b'\n';
            self.lost.inc_by(count(rest));
        }
        lines.clear();
        outcome
    }

    fn write_from(&mut self, written: &mut usize, lines: &[u8]) -> io::Result<()> {
        if self.cut && !lines.is_empty() {
            write_some(&mut self.out, b"\n")?;
            self.cut = false;
        }
        while *written < lines.len() {
            *written += write_some(&mut self.out, &lines[*written..])?;
        }
        self.out.flush()
    }
}

/// Writes once; waits if the output is non-blocking and full.
fn write_some(out: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match out.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => return Ok(written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(FULL_PAUSE),
            Err(error) => return Err(error),
        }
    }
}

impl<W: Write> AccessLog<W> {
    /// Creates a log that writes to `out` and counts the lines it drops.
    pub fn new(out: W, lost: IntCounter) -> Self {
        Self { out: LogStream::new(out, lost), failing: false }
    }
}

impl<W: Write> ErrorLog<W> {
    pub(super) fn new(out: W, lost: IntCounter) -> Self {
        Self(LogStream::new(out, lost))
    }
}

impl<W: Write + Send + 'static> Sink for AccessLog<W> {
    fn write(&mut self, lines: &mut Vec<u8>) {
        if lines.is_empty() {
            return;
        }
        let outcome = self.out.write(lines);
        match &outcome {
            Err(error) if !self.failing => {
                tracing::warn!(%error, "access lines cannot be written and are lost");
            }
            Ok(()) if self.failing => tracing::info!("access lines are written again"),
            _ => {}
        }
        self.failing = outcome.is_err();
    }

    fn lost(&mut self, lines: u64) {
        tracing::warn!(lines, "access lines were lost: the log was not read fast enough");
    }
}

impl<W: Write + Send + 'static> Sink for ErrorLog<W> {
    fn write(&mut self, lines: &mut Vec<u8>) {
        // The stream counts lost lines; there is no other log to report the error in.
        let _ = self.0.write(lines);
    }

    fn lost(&mut self, lines: u64) {
        tracing::warn!(lines, "lines of this log were lost: it was not read fast enough");
    }

    /// Short, because these lines are few and read at once.
    fn linger(&self) -> Duration {
        LINGER / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts the given number of bytes at each write, and no more after the last of them.
    struct LimitedWriter {
        steps: Vec<usize>,
        taken: Vec<u8>,
    }

    impl Write for LimitedWriter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.steps.pop() {
                None => Err(ErrorKind::StorageFull.into()),
                Some(0) => Err(ErrorKind::WouldBlock.into()),
                Some(most) => {
                    let length = most.min(bytes.len());
                    self.taken.extend_from_slice(&bytes[..length]);
                    Ok(length)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_not_taken_is_counted_and_half_a_line_ends_before_the_next() {
        let lost = IntCounter::new("lost", "Lines.").expect("a valid metric");
        let out = LimitedWriter { steps: vec![5, 0, 2], taken: Vec::new() };
        let mut stream = LogStream::new(out, lost.clone());
        let mut lines = b"one\ntwo\nthree\n".to_vec();
        assert!(stream.write(&mut lines).is_err() && lines.is_empty());
        assert_eq!((&*stream.out.taken, lost.get()), (&b"one\ntwo"[..], 2));
        stream.out.steps = vec![9, 9];
        stream.write(&mut b"four\n".to_vec()).expect("there is room");
        assert_eq!((&*stream.out.taken, lost.get()), (&b"one\ntwo\nfour\n"[..], 2));
    }
}
