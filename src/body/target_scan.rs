//! Checks the lines of a target list piece by piece. The verdict does not depend on where the list is cut.
//!
//! The vendor takes one value per line, ignores blanks around it, and accepts no line over 40 bytes (`docs/vendor.md`,
//! V38). A lone CR ends a line for some parsers and not for others, so a line is too long only if it is for both.

use crate::config::Files;

use super::newlines::{each_newline, short_lines};
use super::spelling::is_blank;
use super::{BodyFault, Rule, Verdict};

/// Upper bound of bad lines that are reported by number; the rest are only counted.
const BAD_LINES_KEPT: usize = 20;

/// Bytes of a piece that is checked for UTF-8 and for lines while it is in the first-level cache.
const PIECE_BYTES: usize = 16 * 1024;

/// A scan of one target list.
#[derive(Debug)]
pub struct TargetScan {
    line_bytes_max: usize,
    /// Start of a character whose other bytes are still to come; at most three bytes.
    cut: Vec<u8>,
    /// The line that was still open at the end of the last piece.
    open: OpenLine,
    /// Nothing was read yet, so a byte order mark may come.
    at_start: bool,
    seen: TargetSummary,
}

/// Properties of a whole target list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetSummary {
    /// Length of the list in bytes.
    pub bytes: u64,
    /// Number of lines, ended by a newline or by the end of the list; blank ones included.
    pub lines: u64,
    /// The first lines that are too long, at most 20.
    pub bad: Vec<BadLine>,
    /// Number of lines that are too long.
    pub bad_lines: u64,
    /// The place at which the list stops being UTF-8. Nothing after it is checked.
    pub broken: Option<BrokenText>,
    /// Whether a line is not blank.
    pub has_values: bool,
}

/// A line that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Line number, counted from 1.
    pub number: u64,
    /// Length in bytes, without blanks around the line.
    pub bytes: u64,
}

/// The place at which a text stops being UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenText {
    /// Line number, counted from 1.
    pub line: u64,
    /// Byte position in the list, counted from 0.
    pub offset: u64,
}

impl TargetScan {
    /// Starts the scan of a list under these rules.
    pub fn new(files: &Files) -> Self {
        Self {
            line_bytes_max: files.line_bytes,
            cut: Vec::with_capacity(4),
            open: OpenLine::default(),
            at_start: true,
            seen: TargetSummary::default(),
        }
    }

    /// Scans the next bytes of the list.
    pub fn push(&mut self, mut bytes: &[u8]) {
        let start = self.seen.bytes;
        self.seen.bytes += bytes.len() as u64;
        let length = bytes.len();
        while !bytes.is_empty() && self.seen.broken.is_none() {
            let offset = start + (length - bytes.len()) as u64;
            if self.cut.is_empty() {
                let (piece, rest) = bytes.split_at(piece_end(bytes));
                self.read(piece, offset);
                bytes = rest;
            } else {
                let (&byte, rest) = bytes.split_first().expect("the loop runs while there are bytes");
                bytes = rest;
                self.complete(byte, offset);
            }
        }
    }

    /// Skips lines that are known to be whole, UTF-8 and short. They are not counted, so line numbers of later faults
    /// are wrong; a caller that finds a fault has to scan again.
    pub(super) fn skip_good(&mut self, lines: &[u8]) {
        self.seen.bytes += lines.len() as u64;
        let bom = if self.at_start { "\u{feff}" } else { "" };
        let text = lines.strip_prefix(bom.as_bytes()).unwrap_or(lines);
        self.at_start &= lines.is_empty();
        self.seen.has_values |= text.iter().any(|&byte| byte > b' ');
    }

    /// Ends the list and returns what was found.
    pub fn finish(mut self) -> TargetSummary {
        if !self.cut.is_empty() {
            self.break_at(self.seen.bytes - self.cut.len() as u64);
        }
        let open = std::mem::take(&mut self.open);
        if open.any {
            self.end_line(&open);
        }
        self.seen
    }

    /// Reads whole characters, up to one that is cut or malformed.
    fn read(&mut self, piece: &[u8], offset: u64) {
        if let Ok(text) = simdutf8::basic::from_utf8(piece) {
            return self.read_text(text);
        }
        let Err(error) = simdutf8::compat::from_utf8(piece) else { return };
        let (valid, rest) = piece.split_at(error.valid_up_to());
        self.read_text(
            simdutf8::basic::from_utf8(valid).expect("the part in front of the first error is UTF-8"),
        );
        match error.error_len() {
            None => self.cut.extend_from_slice(rest),
            Some(_) => self.break_at(offset + valid.len() as u64),
        }
    }

    /// Adds one byte to a character that was cut.
    fn complete(&mut self, byte: u8, offset: u64) {
        let start = offset - self.cut.len() as u64;
        self.cut.push(byte);
        let character = std::mem::take(&mut self.cut);
        match std::str::from_utf8(&character) {
            Ok(text) => self.read_text(text),
            Err(error) if error.error_len().is_some() => self.break_at(start),
            Err(_) => self.cut = character,
        }
    }

    fn break_at(&mut self, offset: u64) {
        self.seen.broken = Some(BrokenText { line: self.seen.lines + 1, offset });
    }

    fn read_text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let text = if self.at_start { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text };
        self.at_start = false;
        self.seen.has_values |= text.bytes().any(|byte| byte > b' ');
        let Some(first) = memchr::memchr(b'\n', text.as_bytes()) else {
            return self.open.extend(text);
        };
        let mut open = std::mem::take(&mut self.open);
        // The text up to the first newline belongs to the line that the last piece left open.
        open.extend(&text[..first]);
        self.end_line(&open);
        let rest = &text[first + 1..];
        let start = match short_lines(rest.as_bytes(), self.line_bytes_max) {
            Some(end) => {
                self.seen.lines += memchr::memchr_iter(b'\n', &rest.as_bytes()[..end]).count() as u64;
                end
            }
            None => self.read_lines(rest),
        };
        self.open.extend(&rest[start..]);
    }

    /// Checks line by line. Returns the start of the last line, which is still open.
    fn read_lines(&mut self, text: &str) -> usize {
        let (mut start, mut lines) = (0, self.seen.lines);
        each_newline(text.as_bytes(), |end| {
            lines += 1;
            if end - start > self.line_bytes_max {
                self.judge_long(&text[start..end], lines);
            }
            start = end + 1;
        });
        self.seen.lines = lines;
        start
    }

    /// Measures a line again without its blanks, with which it was too long.
    fn judge_long(&mut self, line: &str, number: u64) {
        if line.trim_ascii().len() > self.line_bytes_max {
            let mut open = OpenLine::default();
            open.extend(line);
            self.judge(&open, number);
        }
    }

    fn end_line(&mut self, line: &OpenLine) {
        self.seen.lines += 1;
        self.judge(line, self.seen.lines);
    }

    fn judge(&mut self, line: &OpenLine, number: u64) {
        let bytes = line.widest.max(line.value);
        if bytes > self.line_bytes_max as u64 {
            self.seen.bad_lines += 1;
            if self.seen.bad.len() < BAD_LINES_KEPT {
                self.seen.bad.push(BadLine { number, bytes });
            }
        }
    }
}

/// The position to cut the next piece at: the start of a character, if one is near.
fn piece_end(bytes: &[u8]) -> usize {
    if bytes.len() <= PIECE_BYTES {
        return bytes.len();
    }
    let starts = |&end: &usize| bytes[end] & 0xC0 != 0x80;
    (PIECE_BYTES - 3..=PIECE_BYTES).rev().find(starts).unwrap_or(PIECE_BYTES)
}

/// A line as far as it was read.
#[derive(Debug, Default)]
struct OpenLine {
    /// The line has at least one byte.
    any: bool,
    /// Length in bytes of the longest value that a CR ended.
    widest: u64,
    /// Length in bytes from the first byte that is not blank to the last one.
    value: u64,
    /// Length in bytes of the blanks after that; they count once more text follows.
    blanks: u64,
}

impl OpenLine {
    fn extend(&mut self, text: &str) {
        self.any |= !text.is_empty();
        let mut values = text.split('\r');
        self.extend_value(values.next().unwrap_or_default());
        for value in values {
            self.widest = self.widest.max(self.value);
            (self.value, self.blanks) = (0, 0);
            self.extend_value(value);
        }
    }

    fn extend_value(&mut self, text: &str) {
        let text = if self.value == 0 { text.trim_start_matches(is_blank) } else { text };
        let trimmed = text.trim_end_matches(is_blank);
        if !trimmed.is_empty() {
            self.value += std::mem::take(&mut self.blanks) + trimmed.len() as u64;
        }
        if self.value != 0 {
            self.blanks += (text.len() - trimmed.len()) as u64;
        }
    }
}

impl TargetSummary {
    /// The first fault by all rules but the one for the file name.
    pub fn verdict(&self, files: &Files) -> Verdict {
        self.faults(files).into_iter().next().map_or(Ok(()), Err)
    }

    /// All faults of the list, without that of its file name.
    pub fn faults(&self, files: &Files) -> Vec<BodyFault> {
        let faults = [self.size(files), self.encoding(), self.lengths(files), self.content()];
        faults.into_iter().filter_map(Result::err).collect()
    }

    fn size(&self, files: &Files) -> Verdict {
        let bytes_max = files.max_bytes;
        if self.bytes == 0 {
            return Err(BodyFault::new(Rule::ListEmpty, "the target list is empty"));
        }
        if self.bytes > bytes_max as u64 {
            let what = format!("the target list has {} bytes; up to {bytes_max} pass", self.bytes);
            return Err(BodyFault::new(Rule::ListSize, what));
        }
        Ok(())
    }

    fn encoding(&self) -> Verdict {
        if let Some(BrokenText { line, offset }) = self.broken {
            let what = format!("line {line} of the target list is not UTF-8 (byte {offset} of the file)");
            return Err(BodyFault::new(Rule::ListEncoding, what + "; save it as UTF-8"));
        }
        Ok(())
    }

    fn lengths(&self, files: &Files) -> Verdict {
        if let Some(BadLine { number, bytes }) = self.bad.first() {
            let (max, bad) = (files.line_bytes, self.bad_lines);
            let what = format!("line {number} of the target list has {bytes} bytes; up to {max} pass");
            return Err(BodyFault::new(
                Rule::ListLine,
                format!("{what} ({bad} of {} lines are too long)", self.lines),
            ));
        }
        Ok(())
    }

    fn content(&self) -> Verdict {
        if !self.has_values && self.bytes > 0 && self.broken.is_none() {
            return Err(BodyFault::new(
                Rule::ListBlank,
                "the target list has blank lines only; send one value a line",
            ));
        }
        Ok(())
    }
}
