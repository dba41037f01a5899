//! The trace that a request belongs to, from its `traceparent` header (W3C Trace Context, 3.2).

/// The id of a trace: 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId([u8; 32]);

/// The caller's part of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: TraceId,
    /// Whether the caller records its part.
    pub sampled: bool,
    /// The id of the caller's span: 16 hexadecimal digits.
    span_id: [u8; 16],
}

impl TraceParent {
    /// Reads a `traceparent` value; `None` if it is malformed.
    pub fn read(traceparent: &[u8]) -> Option<Self> {
        let is_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
        let (version, rest) = traceparent.split_at_checked(3)?;
        let (id, rest) = rest.split_first_chunk::<32>()?;
        let (parent, rest) = rest.split_first_chunk::<18>()?;
        let span_id = parent[1..].first_chunk::<16>()?;
        let (flags, more) = rest.split_at_checked(2)?;
        let dashes = [version[2], parent[0], parent[17]] == *b"---";
        let hex = is_hex(&version[..2]) && is_hex(id) && is_hex(span_id) && is_hex(flags);
        // Later versions may append more after another dash.
        let ends = more.is_empty() || (&version[..2] != b"00" && more[0] == b'-');
        let known = dashes && hex && ends && &version[..2] != b"ff";
        let sampled = matches!(flags[1], b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f');
        let context = Self { trace_id: TraceId(*id), sampled, span_id: *span_id };
        (known && !is_zero(id) && !is_zero(span_id)).then_some(context)
    }

    /// The digits of the span's id as text.
    pub fn span_id(&self) -> &str {
        std::str::from_utf8(&self.span_id).expect("digits are ASCII")
    }
}

impl TraceId {
    /// An id from its 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
        let byte = |at: usize| bytes[at / 2] >> if at.is_multiple_of(2) { 4 } else { 0 };
        Self(std::array::from_fn(|at| digit(byte(at) & 0xf)))
    }

    /// The digits of the id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits are ASCII")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trace_context_has_an_id() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let read =
            |text: &str| TraceParent::read(text.as_bytes()).map(|read| read.trace_id.as_str().to_owned());
        let good = format!("00-{id}-00f067aa0ba902b7-01");
        assert_eq!(read(&good).as_deref(), Some(id));
        assert_eq!(read(&format!("cc-{id}-00f067aa0ba902b7-01-what-comes-later")).as_deref(), Some(id));
        let bad = [
            good.replacen("00-", "ff-", 1),
            format!("{good}-more"),
            format!("cc{}x", &good[2..]),
            good.to_uppercase(),
            good.replace(id, &"0".repeat(32)),
            good.replace("00f067aa0ba902b7", "0000000000000000"),
            good.replace('-', "_"),
            good[..good.len() - 1].to_owned(),
            String::new(),
        ];
        for text in bad {
            assert_eq!(read(&text), None, "{text}");
        }
    }

    #[test]
    fn a_trace_context_names_a_span_and_whether_it_is_sampled() {
        for (flags, sampled) in [("01", true), ("03", true), ("0f", true), ("00", false), ("02", false)] {
            let text = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
            let parent = TraceParent::read(text.as_bytes()).expect("a trace context");
            assert_eq!((parent.span_id(), parent.sampled), ("00f067aa0ba902b7", sampled), "{text}");
        }
    }

    #[test]
    fn an_id_is_written_as_it_is_read() {
        let bytes = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes();
        assert_eq!(TraceId::from_bytes(bytes).as_str(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }
}
