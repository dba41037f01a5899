//! Finds where JSON values end, without building them (RFC 8259).
//!
//! Every push is scanned here, and most of its bytes are text that no rule looks at. So strings are skipped sixteen
//! bytes at a time, and nesting costs one bit per level and no stack. `serde_json` needs twice as long for a push of
//! 600 bytes (`cargo bench --bench bodies`). It still decodes strings, and writes the messages about malformed JSON.

use super::byte_mask::{TEXT_BYTES, string_ends};

/// The text is not JSON, or it ends too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson;

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

    /// The next byte that is no blank, without passing it. Blanks before it are passed.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.byte() {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Passes the next byte that is no blank, which must be `expected`.
    pub(super) fn pass(&mut self, expected: u8) -> Result<(), NotJson> {
        if self.peek() == Some(expected) {
            self.at += 1;
            return Ok(());
        }
        Err(NotJson)
    }

    /// Passes a string and returns it with its quotes.
    pub(super) fn string(&mut self) -> Result<&'a str, NotJson> {
        self.peek();
        let start = self.at;
        self.pass(b'"')?;
        self.rest_of_string()?;
        Ok(&self.text[start..self.at])
    }

    /// Passes a value and returns it as it is spelled.
    pub(super) fn value(&mut self) -> Result<&'a str, NotJson> {
        self.peek();
        let start = self.at;
        let mut open = OpenLevels::default();
        loop {
            match self.peek().ok_or(NotJson)? {
                b'{' => {
                    self.at += 1;
                    if self.peek() == Some(b'}') {
                        self.at += 1;
                    } else {
                        open.push(true);
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.at += 1;
                    if self.peek() == Some(b']') {
                        self.at += 1;
                    } else {
                        open.push(false);
                        continue;
                    }
                }
                b'"' => {
                    self.at += 1;
                    self.rest_of_string()?;
                }
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                _ => return Err(NotJson),
            }
            // A value has ended; arrays and objects around it may end, too.
            loop {
                let Some(in_object) = open.last() else { return Ok(&self.text[start..self.at]) };
                let next = self.peek().ok_or(NotJson)?;
                self.at += 1;
                match (next, in_object) {
                    (b',', true) => {
                        self.key()?;
                        break;
                    }
                    (b',', false) => break,
                    (b'}', true) | (b']', false) => open.pop(),
                    _ => return Err(NotJson),
                }
            }
        }
    }

    /// Passes a key and its colon.
    fn key(&mut self) -> Result<(), NotJson> {
        self.pass(b'"')?;
        self.rest_of_string()?;
        self.pass(b':')
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn word(&mut self, word: &str) -> Result<(), NotJson> {
        // An error ends the scan, so it does not matter that `at` may pass the end then.
        let is_there = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += word.len();
        if is_there { Ok(()) } else { Err(NotJson) }
    }

    /// Passes the rest of a string, after its opening quote.
    fn rest_of_string(&mut self) -> Result<(), NotJson> {
        loop {
            self.at += plain_bytes(&self.text.as_bytes()[self.at..]);
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                // A control byte, or the end of the text.
                _ => return Err(NotJson),
            }
        }
    }

    fn escape(&mut self) -> Result<(), NotJson> {
        let length = match self.text.as_bytes()[self.at + 1..] {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return Err(NotJson),
        };
        self.at += length;
        Ok(())
    }

    fn number(&mut self) -> Result<(), NotJson> {
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        // A digit here follows a leading zero.
        if self.byte().is_some_and(|byte| byte.is_ascii_digit()) { Err(NotJson) } else { Ok(()) }
    }

    /// Passes digits, at least one.
    fn digits(&mut self) -> Result<(), NotJson> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(NotJson) } else { Ok(()) }
    }
}

/// The number of leading bytes that are neither a quote, a backslash nor a control byte.
#[inline]
fn plain_bytes(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks();
    for (number, word) in words.iter().enumerate() {
        let ends = string_ends(word);
        if ends != 0 {
            return number * TEXT_BYTES + ends.trailing_zeros() as usize;
        }
    }
    let ends = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    words.len() * TEXT_BYTES + rest.iter().position(ends).unwrap_or(rest.len())
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
