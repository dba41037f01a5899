//! Detects fragments in the targets of HTTP/2 requests before the parser cuts them off.
//!
//! h2 passes a `:path` to a library that silently drops `#` and everything after it, so the request would address
//! another object than it named, and no layer above h2 can see that. Therefore every literal that can be a `:path` is
//! examined before h2 parses it. The shortened form of a path with a fragment is remembered for the connection together
//! with the original, and a request for it is judged by the original. No HPACK table is needed: every entry of the
//! parser's table was a literal before.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::http2_limits::FRAME_BYTES;
use super::huffman;
use crate::lock::lock;

/// Length of the connection preface.
const PREFACE_BYTES: usize = 24;
/// Length of a frame's head.
const FRAME_HEAD_BYTES: usize = 9;
/// Longest header block that is examined; the parser closes the connection before that.
const BLOCK_BYTES_MAX: usize = 8 * FRAME_BYTES as usize;
/// Paths remembered for one connection. Usual callers send none with a fragment.
const CUT_MAX: usize = 64;
/// Buffers up to this capacity are kept between two heads.
const KEPT_BYTES: usize = 4 * 1024;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Indexes of `:path` in the static table, and the last index of that table.
const PATH_NAMES: [usize; 2] = [4, 5];
const STATIC_NAMES: usize = 61;

/// The paths of one connection that had fragments.
#[derive(Default)]
pub(super) struct Fragments {
    any: AtomicBool,
    cut: Mutex<FragmentCut>,
}

#[derive(Default)]
struct FragmentCut {
    paths: HashMap<Box<str>, Box<str>>,
    /// There were too many paths, or bytes that could not be read: any path may have had a fragment.
    is_lost: bool,
}

impl Fragments {
    /// The original of a path that had a fragment; `None` if the path had none.
    pub(super) fn sent_as(&self, path: &str) -> Option<Box<str>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let cut = lock(&self.cut);
        if cut.is_lost { Some("#".into()) } else { cut.paths.get(path).cloned() }
    }

    fn add(&self, path: &str) {
        let Some((rest, _)) = path.split_once('#') else { return };
        let mut cut = lock(&self.cut);
        cut.is_lost |= cut.paths.len() >= CUT_MAX;
        if !cut.is_lost {
            // For an empty path the library reports a slash.
            let rest = if rest.is_empty() { "/" } else { rest };
            cut.paths.insert(rest.into(), path.into());
        }
        drop(cut);
        self.any.store(true, Ordering::Release);
    }

    fn lose(&self) {
        lock(&self.cut).is_lost = true;
        self.any.store(true, Ordering::Release);
    }
}

/// Follows the bytes of one connection, from the first one on.
pub(super) struct Reader {
    /// Whether the whole preface was read.
    is_open: bool,
    /// Number of bytes to skip.
    skip: usize,
    /// A frame with header fields, as far as it was read; of other frames, only the head.
    frame: Vec<u8>,
    /// The header fields of the current head so far.
    block: Vec<u8>,
    is_lost: bool,
}

/// Bytes that cannot be read here. The parser closes the connection for them, or should.
struct Unreadable;

impl Reader {
    pub(super) fn new() -> Self {
        Self { is_open: false, skip: PREFACE_BYTES, frame: Vec::new(), block: Vec::new(), is_lost: false }
    }

    /// Reads the next bytes, before the parser gets them.
    pub(super) fn read(&mut self, bytes: &[u8], fragments: &Fragments) {
        if !self.is_lost && self.follow(bytes, fragments).is_err() {
            self.is_lost = true;
            fragments.lose();
        }
    }

    /// Whether a head, or the preface, has begun and is not complete.
    pub(super) fn is_in_head(&self) -> bool {
        !self.is_open || self.head_bytes() > 0
    }

    /// Bytes of an incomplete head.
    pub(super) fn head_bytes(&self) -> usize {
        let is_head = |kind: &u8| [HEADERS, CONTINUATION].contains(kind);
        let begun = if self.frame.get(3).is_some_and(is_head) { self.frame.len() } else { 0 };
        self.block.len() + begun
    }

    fn follow(&mut self, mut bytes: &[u8], fragments: &Fragments) -> Result<(), Unreadable> {
        loop {
            let passed = self.skip.min(bytes.len());
            (self.skip, bytes) = (self.skip - passed, &bytes[passed..]);
            self.is_open |= self.skip == 0;
            let missing = self.frame_bytes() - self.frame.len();
            let (next, rest) = bytes.split_at(missing.min(bytes.len()));
            self.frame.extend_from_slice(next);
            bytes = rest;
            if self.frame.len() < FRAME_HEAD_BYTES {
                return Ok(());
            }
            let (kind, length) = (self.frame[3], self.frame_bytes() - FRAME_HEAD_BYTES);
            if kind != HEADERS && kind != CONTINUATION {
                self.skip = length;
                self.frame.clear();
            } else if length > FRAME_BYTES as usize {
                return Err(Unreadable);
            } else if self.frame.len() == self.frame_bytes() {
                self.end_frame(fragments)?;
            } else if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Length of the current frame; length of a frame head, as long as that is not complete.
    fn frame_bytes(&self) -> usize {
        match self.frame[..] {
            [high, middle, low, _, _, _, _, _, _, ..] => {
                FRAME_HEAD_BYTES + (usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low))
            }
            _ => FRAME_HEAD_BYTES,
        }
    }

    fn end_frame(&mut self, fragments: &Fragments) -> Result<(), Unreadable> {
        let (kind, flags) = (self.frame[3], self.frame[4]);
        let mut payload = &self.frame[FRAME_HEAD_BYTES..];
        if kind == HEADERS && flags & PADDED != 0 {
            let (padding, rest) = payload.split_first().ok_or(Unreadable)?;
            payload = &rest[..rest.len().checked_sub(usize::from(*padding)).ok_or(Unreadable)?];
        }
        if kind == HEADERS && flags & PRIORITY != 0 {
            payload = payload.get(5..).ok_or(Unreadable)?;
        }
        self.block.extend_from_slice(payload);
        if self.block.len() > BLOCK_BYTES_MAX {
            return Err(Unreadable);
        }
        if flags & END_HEADERS != 0 {
            read_block(&self.block, fragments)?;
            self.block.clear();
        }
        self.frame.clear();
        self.block.shrink_to(KEPT_BYTES);
        self.frame.shrink_to(KEPT_BYTES);
        Ok(())
    }
}

/// Examines every literal that can be a path (RFC 7541, 6).
fn read_block(mut block: &[u8], fragments: &Fragments) -> Result<(), Unreadable> {
    while let Some(first) = block.first() {
        // The number of bits in the first byte that belong to its integer, and whether a literal follows.
        let (bits, is_literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let name = take_number(&mut block, bits)?;
        if !is_literal {
            continue;
        }
        if name == 0 {
            take_text(&mut block)?;
        }
        let (value, is_coded) = take_text(&mut block)?;
        // An entry of the dynamic table, or a literal name, can be any name.
        if PATH_NAMES.contains(&name) || name == 0 || name > STATIC_NAMES {
            let value = if is_coded { huffman::decode(value) } else { Some(value.to_vec()) };
            if let Some(path) = value.and_then(|value| String::from_utf8(value).ok())
                && path.starts_with(['/', '?', '#'])
            {
                fragments.add(&path);
            }
        }
    }
    Ok(())
}

/// Takes an integer whose first bits are the last ones of a byte (RFC 7541, 5.1).
fn take_number(block: &mut &[u8], bits: u32) -> Result<usize, Unreadable> {
    let mut next = || {
        let (byte, rest) = block.split_first()?;
        *block = rest;
        Some(usize::from(*byte))
    };
    let most = (1 << bits) - 1;
    let mut number = next().ok_or(Unreadable)? & most;
    if number < most {
        return Ok(number);
    }
    for shift in [0, 7, 14, 21] {
        let byte = next().ok_or(Unreadable)?;
        number += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Unreadable)
}

/// Takes a string, and returns whether it is Huffman-coded (RFC 7541, 5.2).
fn take_text<'b>(block: &mut &'b [u8]) -> Result<(&'b [u8], bool), Unreadable> {
    let is_coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = take_number(block, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or(Unreadable)?;
    *block = rest;
    Ok((text, is_coded))
}

#[cfg(test)]
mod tests;
