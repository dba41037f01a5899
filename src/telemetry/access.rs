//! The access log: lines that are dropped if they cannot be written.

use std::io::Write;

use super::lines::Sink;

/// Whatever takes access lines.
pub struct AccessLog<W>(pub W);

impl<W: Write + Send + 'static> Sink for AccessLog<W> {
    fn write(&mut self, lines: &mut Vec<u8>) {
        if !lines.is_empty()
            && let Err(error) = self.0.write_all(lines).and_then(|()| self.0.flush())
        {
            tracing::warn!(%error, "access lines could not be written");
        }
        lines.clear();
    }

    fn lost(&mut self, lines: u64) {
        tracing::warn!(lines, "access lines were lost: the log was not read fast enough");
    }
}
