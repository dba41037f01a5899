//! Finds where JSON values end, without building them (RFC 8259).
//!
//! Every push is scanned here, and most of its bytes are text that no rule looks at. So strings are skipped sixteen
//! bytes at a time, and nesting costs one bit per level and no stack. `serde_json` needs twice as long for a push of
//! 600 bytes (`cargo bench --bench bodies`). It still decodes strings, and writes the messages about malformed JSON.

use super::byte_mask::{TEXT_BYTES, string_ends};

/// The text is not JSON, or it ends too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson;

/// A value or a key as the text spells it, without blanks around it.
#[derive(Clone, Copy)]
pub(super) struct Spelling<'a> {
    pub(super) text: &'a str,
    /// A string in it has an escape, so that it does not stand there as it is meant.
    pub(super) has_escapes: bool,
}

/// A scanner at a position in a text.
#[derive(Clone, Copy)]
pub(super) struct JsonScanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> JsonScanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next byte that is no blank, without passing it.
    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        next_byte(self.text.as_bytes(), self.at).ok().map(|(byte, _)| byte)
    }

    /// Passes the next byte that is no blank if it is `wanted`; tells whether it was.
    #[inline]
    pub(super) fn passes(&mut self, wanted: u8) -> bool {
        let place = next_byte(self.text.as_bytes(), self.at).ok().filter(|(byte, _)| *byte == wanted);
        if let Some((_, place)) = place {
            self.at = place + 1;
        }
        place.is_some()
    }

    /// Passes the next byte that is no blank, which must be `expected`.
    #[inline]
    pub(super) fn pass(&mut self, expected: u8) -> Result<(), NotJson> {
        if self.passes(expected) { Ok(()) } else { Err(NotJson) }
    }

    /// Passes a string and returns it with its quotes.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Spelling<'a>, NotJson> {
        let text = self.text.as_bytes();
        let start = expect(text, self.at, b'"')? - 1;
        let (end, has_escapes) = end_of_string(text, start + 1)?;
        Ok(self.spelled(start, end, has_escapes))
    }

    /// Passes a value and returns it as it is spelled.
    pub(super) fn value(&mut self) -> Result<Spelling<'a>, NotJson> {
        let text = self.text.as_bytes();
        let (first, start) = next_byte(text, self.at)?;
        let (end, has_escapes) = match first {
            b'"' => end_of_string(text, start + 1)?,
            b'{' | b'[' => (end_of_levels(text, start)?, false),
            _ => (end_of_scalar(text, start, first)?, false),
        };
        Ok(self.spelled(start, end, has_escapes))
    }

    fn spelled(&mut self, start: usize, end: usize, has_escapes: bool) -> Spelling<'a> {
        self.at = end;
        Spelling { text: &self.text[start..end], has_escapes }
    }
}

// The functions below take places and give places, which the compiler keeps in registers.

/// The next byte that is no blank, and its place.
#[inline]
fn next_byte(text: &[u8], start: usize) -> Result<(u8, usize), NotJson> {
    let mut at = start;
    while let Some(byte) = text.get(at) {
        if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            return Ok((*byte, at));
        }
        at += 1;
    }
    Err(NotJson)
}

/// The place behind the next byte that is no blank, which must be `expected`.
#[inline]
fn expect(text: &[u8], start: usize, expected: u8) -> Result<usize, NotJson> {
    match next_byte(text, start)? {
        (byte, place) if byte == expected => Ok(place + 1),
        _ => Err(NotJson),
    }
}

/// The end of an array or an object that begins here, with all that is in it.
fn end_of_levels(text: &[u8], start: usize) -> Result<usize, NotJson> {
    let (mut at, mut open) = (start, OpenLevels::default());
    loop {
        let (first, place) = next_byte(text, at)?;
        at = match first {
            b'{' | b'[' => {
                let is_object = first == b'{';
                let (next, place) = next_byte(text, place + 1)?;
                if next != if is_object { b'}' } else { b']' } {
                    open.push(is_object);
                    at = if is_object { end_of_key(text, place)? } else { place };
                    continue;
                }
                place + 1
            }
            _ => end_of_scalar(text, place, first)?,
        };
        // A value has ended; arrays and objects around it may end, too.
        loop {
            let Some(in_object) = open.last() else { return Ok(at) };
            let (next, place) = next_byte(text, at)?;
            at = place + 1;
            match (next, in_object) {
                (b',', true) => {
                    at = end_of_key(text, at)?;
                    break;
                }
                (b',', false) => break,
                (b'}', true) | (b']', false) => open.pop(),
                _ => return Err(NotJson),
            }
        }
    }
}

/// The end of a key and its colon.
#[inline]
fn end_of_key(text: &[u8], start: usize) -> Result<usize, NotJson> {
    let (end, _) = end_of_string(text, expect(text, start, b'"')?)?;
    expect(text, end, b':')
}

/// The end of a value that is no array and no object, and begins here with this byte.
#[inline]
fn end_of_scalar(text: &[u8], start: usize, first: u8) -> Result<usize, NotJson> {
    let word = match first {
        b'"' => return end_of_string(text, start + 1).map(|(end, _)| end),
        b'-' | b'0'..=b'9' => return end_of_number(text, start),
        b't' => "true",
        b'f' => "false",
        b'n' => "null",
        _ => return Err(NotJson),
    };
    if text[start..].starts_with(word.as_bytes()) { Ok(start + word.len()) } else { Err(NotJson) }
}

/// The end of a string behind its closing quote, given the place behind its opening one; and whether it has escapes.
#[inline]
fn end_of_string(text: &[u8], start: usize) -> Result<(usize, bool), NotJson> {
    let end = start + plain_bytes(&text[start..]);
    if text.get(end) == Some(&b'"') { Ok((end + 1, false)) } else { Ok((end_of_escapes(text, end)?, true)) }
}

/// The end of a string behind its closing quote, given the place of its first escape.
#[cold]
fn end_of_escapes(text: &[u8], first: usize) -> Result<usize, NotJson> {
    let mut at = first;
    loop {
        match text.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at += escape_bytes(&text[at + 1..])?,
            // A control byte, or the end of the text.
            _ => return Err(NotJson),
        }
        at += plain_bytes(&text[at..]);
    }
}

/// The number of bytes of an escape, by what stands behind its backslash.
fn escape_bytes(behind: &[u8]) -> Result<usize, NotJson> {
    match behind {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Ok(2),
        [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => Ok(6),
        _ => Err(NotJson),
    }
}

/// The end of a number that begins here.
fn end_of_number(text: &[u8], start: usize) -> Result<usize, NotJson> {
    let byte = |at: usize| text.get(at).copied();
    let mut at = start + usize::from(byte(start) == Some(b'-'));
    at = if byte(at) == Some(b'0') { at + 1 } else { end_of_digits(text, at)? };
    if byte(at) == Some(b'.') {
        at = end_of_digits(text, at + 1)?;
    }
    if matches!(byte(at), Some(b'e' | b'E')) {
        let is_signed = matches!(byte(at + 1), Some(b'+' | b'-'));
        at = end_of_digits(text, at + 1 + usize::from(is_signed))?;
    }
    // A digit here follows a leading zero.
    if byte(at).is_some_and(|byte| byte.is_ascii_digit()) { Err(NotJson) } else { Ok(at) }
}

/// The end of digits, of which there is at least one.
fn end_of_digits(text: &[u8], start: usize) -> Result<usize, NotJson> {
    let count = text[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 { Err(NotJson) } else { Ok(start + count) }
}

/// The number of leading bytes that are neither a quote, a backslash nor a control byte.
#[inline]
fn plain_bytes(bytes: &[u8]) -> usize {
    // Most strings end here.
    let first = bytes.first_chunk().map_or(0, string_ends);
    if first != 0 { first.trailing_zeros() as usize } else { plain_bytes_of_many(bytes) }
}

/// The same for a string that is long, or that stands at the end of a text.
#[inline(never)]
fn plain_bytes_of_many(bytes: &[u8]) -> usize {
    let mut plain = 0;
    while let Some(word) = bytes[plain..].first_chunk() {
        let ends = string_ends(word);
        if ends != 0 {
            return plain + ends.trailing_zeros() as usize;
        }
        plain += TEXT_BYTES;
    }
    let ends = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    let rest = &bytes[plain..];
    plain + rest.iter().position(ends).unwrap_or(rest.len())
}

/// The arrays and objects that are open around a value, one bit each: set for an object.
#[derive(Default)]
struct OpenLevels {
    /// The innermost levels, at most 64; the last one is the lowest bit.
    inner: u64,
    levels: u32,
    /// The levels around those, 64 in each number.
    outer: Vec<u64>,
}

impl OpenLevels {
    fn push(&mut self, is_object: bool) {
        if self.levels == u64::BITS {
            self.outer.push(self.inner);
            self.levels = 0;
        }
        self.inner = self.inner << 1 | u64::from(is_object);
        self.levels += 1;
    }

    fn pop(&mut self) {
        self.inner >>= 1;
        self.levels -= 1;
        if self.levels == 0
            && let Some(inner) = self.outer.pop()
        {
            (self.inner, self.levels) = (inner, u64::BITS);
        }
    }

    fn last(&self) -> Option<bool> {
        (self.levels > 0).then_some(self.inner & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn is_json(text: &str) -> bool {
        let mut skim = JsonScanner::new(text);
        skim.value().is_ok() && skim.peek().is_none()
    }

    fn is_json_for_serde(text: &str) -> bool {
        serde_json::from_str::<IgnoredAny>(text).is_ok()
    }

    /// Text that is nearly JSON: tokens in any order, with whole values among them.
    fn nearly_json() -> impl Strategy<Value = String> {
        let tokens = prop_oneof![
            prop::sample::select(vec![
                "{",
                "}",
                "[",
                "]",
                ",",
                ":",
                "\"a\"",
                "\"\"",
                "\"k\":",
                " ",
                "\n",
                "\t",
                "\r",
                "null",
                "true",
                "false",
                "nul",
                "0",
                "-0",
                "01",
                "1.5",
                "1.",
                ".5",
                "-",
                "1e5",
                "1E+5",
                "1e",
                "1e-",
                "\"\\u12aF\"",
                "\"\\u12g4\"",
                "\"\\n\\\\\\\"\"",
                "\"\\x\"",
                "\"\\",
                "\"",
                "\"推送\"",
                "\u{1}",
                "\"\u{1}\"",
                "\u{a0}",
                "\"0123456789abcdef\"",
            ])
            .prop_map(str::to_owned),
            "\"[ -~\u{0}-\u{20}\u{80}-\u{ff}]{0,20}\"",
        ];
        prop::collection::vec(tokens, 0..8).prop_map(|tokens| tokens.concat())
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<f64>().prop_map(serde_json::Value::from),
            any::<String>().prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(6, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_is_json_here_is_json_for_serde(text in nearly_json()) {
            prop_assert_eq!(is_json(&text), is_json_for_serde(&text), "{:?}", text);
            let wrapped = format!("{{\"k\": [{text}, 1]}}");
            prop_assert_eq!(is_json(&wrapped), is_json_for_serde(&wrapped), "{:?}", wrapped);
        }

        #[test]
        fn whatever_is_written_is_read_and_one_changed_byte_is_judged_alike(
            value in any_json(),
            pretty in any::<bool>(),
            at in any::<prop::sample::Index>(),
            byte in 0_u8..0x80,
        ) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let text = text.expect("values can be written");
            prop_assert!(is_json(&text), "{:?}", text);
            let mut changed = text.into_bytes();
            let at = at.index(changed.len());
            changed[at] = byte;
            if let Ok(changed) = String::from_utf8(changed) {
                prop_assert_eq!(is_json(&changed), is_json_for_serde(&changed), "{:?}", changed);
            }
        }

        #[test]
        fn plain_bytes_end_where_a_slow_look_says(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let slow = bytes.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\'));
            prop_assert_eq!(plain_bytes(&bytes), slow.unwrap_or(bytes.len()));
        }
    }

    #[test]
    fn nesting_has_no_limit_and_keeps_its_kinds() {
        for depth in [1, 63, 64, 65, 128, 129, 100_000] {
            let (open, close) = ("[{\"k\":".repeat(depth), "}]".repeat(depth));
            assert!(is_json(&format!("{open}1{close}")), "{depth}");
            assert!(!is_json(&format!("{open}1{}", close.replacen("}]", "]}", 1))), "{depth}");
            assert!(!is_json(&format!("{open}1{}", &close[1..])), "{depth}");
        }
    }
}
