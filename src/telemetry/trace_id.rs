//! The trace that a request belongs to, from its `traceparent` header (W3C Trace Context, 3.2).

/// The id of a trace: 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId([u8; 32]);

impl TraceId {
    /// Reads the id from a `traceparent` value; `None` if it is malformed.
    pub fn read(traceparent: &[u8]) -> Option<Self> {
        let is_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
        let (version, rest) = traceparent.split_at_checked(3)?;
        let (id, rest) = rest.split_first_chunk::<32>()?;
        let (parent, rest) = rest.split_first_chunk::<18>()?;
        let (flags, more) = rest.split_at_checked(2)?;
        let dashes = [version[2], parent[0], parent[17]] == *b"---";
        let hex = is_hex(&version[..2]) && is_hex(id) && is_hex(&parent[1..17]) && is_hex(flags);
        // Later versions may append more after another dash.
        let ends = more.is_empty() || (&version[..2] != b"00" && more[0] == b'-');
        let known = dashes && hex && ends && &version[..2] != b"ff";
        (known && !is_zero(id) && !is_zero(&parent[1..17])).then_some(Self(*id))
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
        let read = |text: &str| TraceId::read(text.as_bytes()).map(|id| id.as_str().to_owned());
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
}
