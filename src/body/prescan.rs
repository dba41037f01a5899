//! Scans an upload while it arrives and is still in the processor's cache.
//!
//! Another pass over 10 MB that have left the cache costs as much as copying them. A prescan only saves work: the
//! verdict on a body is the same with and without it.

use std::ops::Range;

use crate::operation::BodyRule;

use super::Subject;
use super::delimiters::Delimiters;
use super::newlines::short_lines;

/// Bytes that are scanned at once, so that they stay in the first-level cache.
const PIECE_BYTES: usize = 16 * 1024;

/// Findings about the beginning of one body.
pub struct Prescan {
    seen: usize,
    delimiters: Option<Delimiters>,
    lines: Option<TextLines>,
}

impl Prescan {
    /// Starts a scan of a body that will be checked by this rule.
    pub fn new(rule: BodyRule, subject: &Subject<'_>) -> Self {
        let is_list = rule == BodyRule::TargetList;
        let is_form = is_list || rule == BodyRule::ImageFiles;
        Self {
            seen: 0,
            delimiters: is_form.then(|| Delimiters::of(subject.content_type).ok()).flatten(),
            lines: is_list.then_some(TextLines {
                bytes_max: subject.files.line_bytes,
                good: 0..0,
                over: false,
            }),
        }
    }

    /// Scans the bytes that were added since the last call. `beginning` is the body so far.
    pub fn scan(&mut self, beginning: &[u8]) {
        while self.seen < beginning.len() {
            self.seen = beginning.len().min(self.seen + PIECE_BYTES);
            let beginning = &beginning[..self.seen];
            if let Some(delimiters) = &mut self.delimiters {
                delimiters.search(beginning);
            }
            if let Some(lines) = &mut self.lines {
                lines.read(beginning);
            }
        }
    }

    pub(super) fn delimiters(&self) -> Option<&Delimiters> {
        self.delimiters.as_ref()
    }

    /// A range of the content that starts at `start`: whole lines that are UTF-8 and not too long as they are.
    pub(super) fn good_lines(&self, content: &[u8], start: usize) -> Option<Range<usize>> {
        let good = &self.lines.as_ref()?.good;
        let first = good.start.saturating_sub(start);
        let behind = good.end.saturating_sub(start);
        // The content may end in the middle of the last line that was scanned.
        let last = if behind <= content.len() { behind } else { memchr::memrchr(b'\n', content)? + 1 };
        (first < last).then_some(first..last)
    }
}

/// The first run of lines that are UTF-8 and short.
struct TextLines {
    bytes_max: usize,
    /// Empty until such a line is found; its position is then the start of the next line.
    good: Range<usize>,
    /// The run has ended.
    over: bool,
}

impl TextLines {
    /// Reads whole lines. The heads of parts come first and have long lines, so a run starts after them.
    fn read(&mut self, beginning: &[u8]) {
        let new = &beginning[self.good.end..];
        if self.over {
            return;
        }
        let Some(last) = memchr::memrchr(b'\n', new) else {
            self.over = new.len() > PIECE_BYTES;
            return;
        };
        let whole = &new[..=last];
        let end = self.good.end + whole.len();
        if short_lines(whole, self.bytes_max).is_some() && simdutf8::basic::from_utf8(whole).is_ok() {
            self.good.end = end;
        } else if self.good.is_empty() {
            self.good = end..end;
        } else {
            self.over = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes_max: usize) -> TextLines {
        TextLines { bytes_max, good: 0..0, over: false }
    }

    #[test]
    fn nearly_all_of_a_good_list_is_known_when_it_is_whole() {
        let body =
            [&b"--b\r\nContent-Disposition: form-data; name=\"filename\"; filename=\"list.txt\"\r\n\r\n"[..]]
                .into_iter()
                .chain(std::iter::repeat_n(&b"18100287008546714\n"[..], 60_000))
                .collect::<Vec<_>>()
                .concat();
        let mut prescan = Prescan { seen: 0, delimiters: None, lines: Some(lines(40)) };
        body.chunks(300_000).fold(0, |start, chunk| {
            prescan.scan(&body[..start + chunk.len()]);
            start + chunk.len()
        });
        let start = body.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let content = &body[start..];
        let good = prescan.good_lines(content, start).unwrap();
        assert!(good.start < PIECE_BYTES && good.end == content.len(), "{good:?} of {}", content.len());
        let cut = &content[..content.len() - 5];
        assert_eq!(prescan.good_lines(cut, start), Some(good.start..content.len() - 18));
    }

    #[test]
    fn a_run_is_the_first_and_ends_where_a_line_is_long_or_broken() {
        let long = "x".repeat(41) + "\n";
        let short = "x".repeat(40) + "\n";
        let read = |pieces: &[&[u8]]| {
            let (mut lines, mut beginning) = (lines(40), Vec::new());
            for piece in pieces {
                beginning.extend_from_slice(piece);
                lines.read(&beginning);
            }
            lines.good
        };
        let (long, short) = (long.as_bytes(), short.as_bytes());
        assert_eq!(read(&[short, long, short]), 0..41);
        assert_eq!(read(&[long, short, short]), 42..124);
        assert_eq!(read(&[short, b"\xFF\n", short]), 0..41);
        assert_eq!(read(&[short, b"ab", b"c\nd"]), 0..45);
        assert_eq!(read(&[b"", b"abc"]), 0..0);
    }
}
