//! The framing of HTTP/1.1 bodies: lengths and chunks (RFC 9112, 6 and 7). Pure.
//!
//! The vendor's answers and the callers' requests are framed in the same ways and read by the same code.

use bytes::{Buf, Bytes, BytesMut};

/// Longest line with the size of a chunk, extensions included, in bytes. Nobody who means well writes longer ones, and
/// each chunk may have one.
const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Longest section of trailers, in bytes.
const TRAILER_BYTES_MAX: usize = 4 * 1024;
/// Most trailers that are read.
const TRAILERS_MAX: usize = 100;
/// Parts of a body up to this length are copied out, so that the buffer stays in one piece.
const COPIED_BYTES: usize = 4 * 1024;

/// The bytes are not HTTP/1.1, or over a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The framing of a body, with the length that is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The body ends after so many more bytes.
    Length(u64),
    /// The body ends with its last chunk.
    Chunked(Chunk),
    /// The body ends with the connection.
    UntilClose,
}

/// The part of a chunked body to which the next byte belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// The line with a chunk's size.
    Head,
    /// A chunk, of which so many bytes are to come.
    Data(u64),
    /// The line end after a chunk.
    DataEnd,
    /// The trailers and the empty line at the end.
    Trailers,
    /// Nothing: the body is whole.
    Done,
}

/// The next part of a body in a buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyPart {
    /// Bytes of the body.
    Data(Bytes),
    /// More bytes have to be read first.
    More,
    /// The end of the body.
    End,
}

impl Framing {
    /// Whether the body is whole.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::Done))
    }

    /// Bytes still to come, where that is known.
    pub fn left(self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(left),
            Self::Chunked(Chunk::Done) => Some(0),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Takes what the buffer holds of the body. Trailers are read and dropped: they belong to the connection.
    pub fn take(&mut self, buffer: &mut BytesMut) -> Result<BodyPart, Malformed> {
        loop {
            match self {
                Self::Length(0) | Self::Chunked(Chunk::Done) => return Ok(BodyPart::End),
                Self::Length(left) | Self::Chunked(Chunk::Data(left)) => {
                    if buffer.is_empty() {
                        return Ok(BodyPart::More);
                    }
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                    *left -= length as u64;
                    if *self == Self::Chunked(Chunk::Data(0)) {
                        *self = Self::Chunked(Chunk::DataEnd);
                    }
                    return Ok(BodyPart::Data(split(buffer, length)));
                }
                Self::UntilClose if buffer.is_empty() => return Ok(BodyPart::More),
                Self::UntilClose => return Ok(BodyPart::Data(split(buffer, buffer.len()))),
                Self::Chunked(chunk) => match chunk.advance(buffer)? {
                    None => return Ok(BodyPart::More),
                    Some(next) => *chunk = next,
                },
            }
        }
    }
}

impl Chunk {
    /// Reads what stands between the data of two chunks; `None` if more bytes are needed.
    fn advance(self, buffer: &mut BytesMut) -> Result<Option<Self>, Malformed> {
        let (length, next) = match self {
            Self::Head => match httparse::parse_chunk_size(buffer).map_err(|_| Malformed)? {
                httparse::Status::Complete((length, size)) if is_chunk_line(&buffer[..length]) => {
                    (length, if size == 0 { Self::Trailers } else { Self::Data(size) })
                }
                httparse::Status::Complete(_) => return Err(Malformed),
                httparse::Status::Partial => return self.more(buffer.len()),
            },
            Self::DataEnd => match &buffer[..] {
                [b'\r', b'\n', ..] => (2, Self::Head),
                [] | [b'\r'] => return Ok(None),
                _ => return Err(Malformed),
            },
            Self::Trailers => {
                let mut fields = [httparse::EMPTY_HEADER; TRAILERS_MAX];
                match httparse::parse_headers(buffer, &mut fields).map_err(|_| Malformed)? {
                    httparse::Status::Complete((length, _)) if ends_lines_plainly(&buffer[..length]) => {
                        (length, Self::Done)
                    }
                    httparse::Status::Complete(_) => return Err(Malformed),
                    httparse::Status::Partial => return self.more(buffer.len()),
                }
            }
            Self::Data(_) | Self::Done => return Ok(Some(self)),
        };
        self.more(length)?;
        buffer.advance(length);
        Ok(Some(next))
    }

    /// More bytes are needed, unless these are too many already.
    fn more(self, bytes: usize) -> Result<Option<Self>, Malformed> {
        let bytes_max = if self == Self::Head { CHUNK_LINE_BYTES_MAX } else { TRAILER_BYTES_MAX };
        if bytes > bytes_max { Err(Malformed) } else { Ok(None) }
    }
}

/// Whether a line that the parser took for a chunk's is one for everybody: the parser takes one without a digit for a
/// zero, and would let line feeds pass in an extension.
fn is_chunk_line(line: &[u8]) -> bool {
    let plain = |byte: &u8| !byte.is_ascii_control() || *byte == b'\t';
    line[0].is_ascii_hexdigit() && line.strip_suffix(b"\r\n").is_some_and(|line| line.iter().all(plain))
}

/// Whether every line feed follows a carriage return; the parser would let others pass.
pub fn ends_lines_plainly(lines: &[u8]) -> bool {
    let pairs = lines.iter().zip(lines.get(1..).unwrap_or_default());
    // Without a way out of the loop the compiler looks at many bytes at a time.
    let is_stray = |(before, byte): (&u8, &u8)| *byte == b'\n' && *before != b'\r';
    let strays = pairs.fold(false, |strays, pair| strays | is_stray(pair));
    !strays && lines.first() != Some(&b'\n')
}

fn split(buffer: &mut BytesMut, length: usize) -> Bytes {
    if length > COPIED_BYTES {
        return buffer.split_to(length).freeze();
    }
    let copy = Bytes::copy_from_slice(&buffer[..length]);
    buffer.advance(length);
    copy
}
