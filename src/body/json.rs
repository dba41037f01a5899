//! Reads JSON without building a tree: one level at a time, each value passed on as the text it is.
//!
//! Values are skipped without recursion, so a body nested a hundred thousand levels deep costs no stack and needs no
//! depth limit: the rules descend a fixed few levels and never look further down. Keys are compared decoded
//! (`"\u0061udience"` is `audience`). A key that occurs twice is passed on twice: which one the vendor reads is
//! unknown, so each must pass the rules, and a fact holds if either of them says so.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::json_scan::{JsonScanner, NotJson, Spelling};
use super::{BodyFault, Rule, Verdict};

/// A JSON value as the body spells it, without blanks around it.
#[derive(Clone, Copy)]
pub(super) struct Value<'a>(Spelling<'a>);

impl<'a> Value<'a> {
    pub(super) fn is_null(self) -> bool {
        self.0.text == "null"
    }

    pub(super) fn is_false(self) -> bool {
        self.0.text == "false"
    }

    pub(super) fn is_number(self) -> bool {
        self.0.text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
    }

    /// Length of its text in bytes.
    pub(super) fn bytes(self) -> usize {
        self.0.text.len()
    }

    pub(super) fn is_object(self) -> bool {
        self.0.text.starts_with('{')
    }

    pub(super) fn is_array(self) -> bool {
        self.0.text.starts_with('[')
    }

    /// The decoded string; `None` if this is no string. Half of a surrogate pair, which UTF-8 cannot hold, becomes
    /// U+FFFD.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        let inner = self.0.text.strip_prefix('"')?.strip_suffix('"')?;
        if !self.0.has_escapes {
            return Some(Cow::Borrowed(inner));
        }
        Text.deserialize(&mut serde_json::Deserializer::from_str(self.0.text)).ok()
    }

    /// A whole number as it is spelled, also inside a string or with `.0`: JSON libraries accept either. Not validated.
    pub(super) fn whole_number(self) -> Cow<'a, str> {
        let spelled = self.text().unwrap_or(Cow::Borrowed(self.0.text));
        match spelled.strip_suffix(".0") {
            Some(whole) => Cow::Owned(whole.to_owned()),
            None => spelled,
        }
    }

    /// Calls `each` for every entry of an object; other values have none.
    pub(super) fn each_entry(self, each: impl FnMut(&str, Self)) {
        if self.is_object() {
            let scanned = entries(self.0.text, each);
            debug_assert!(scanned.is_ok(), "the text was scanned as part of the body");
        }
    }

    /// Calls `each` for every item of an array that is not `null`; other values have none.
    pub(super) fn each_item(self, mut each: impl FnMut(Self)) {
        self.any_item(|item| {
            each(item);
            false
        });
    }

    /// Whether an item of an array that is not `null` fits; stops at the first one. Other values have no items.
    pub(super) fn any_item(self, mut fits: impl FnMut(Self) -> bool) -> bool {
        if !self.is_array() {
            return false;
        }
        let scanned = items(self.0.text, |item| !item.is_null() && fits(item));
        debug_assert!(scanned.is_ok(), "the text was scanned as part of the body");
        scanned.unwrap_or(false)
    }
}

/// Reads a body that must be one JSON object, and calls `each` for every top-level entry.
///
/// A leading byte order mark is skipped: ignoring it is allowed (RFC 8259, 8.1), and common parsers do. Entries before
/// a syntax error are passed on, too, because an encrypted push counts by what can be read of it.
pub(super) fn object<'a>(body: &'a [u8], each: impl FnMut(&str, Value<'a>)) -> Verdict {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let text = simdutf8::basic::from_utf8(body).map_err(|_| {
        let valid = simdutf8::compat::from_utf8(body).map_or_else(|error| error.valid_up_to(), str::len);
        BodyFault::new(
            Rule::JsonEncoding,
            format!("the body is not UTF-8 at byte {valid}; send JSON as UTF-8"),
        )
    })?;
    entries(text, each).map_err(|NotJson| {
        let (line, column) = place_of_fault(text);
        let what = format!("the body is not one JSON object (line {line}, column {column})");
        BodyFault::new(Rule::Json, what + "; send one, and nothing behind it")
    })
}

/// Calls `each` for every member of a JSON object, with the value as it is spelled. An error if the text is not one
/// object.
pub fn members<'a>(body: &'a [u8], mut each: impl FnMut(&str, &'a str)) -> Result<(), NotJson> {
    let text = simdutf8::basic::from_utf8(body).map_err(|_| NotJson)?;
    entries(text, |key, value| each(key, value.0.text))
}

fn entries<'a>(text: &'a str, mut each: impl FnMut(&str, Value<'a>)) -> Result<(), NotJson> {
    let mut scanner = JsonScanner::new(text);
    scanner.pass(b'{')?;
    if !scanner.passes(b'}') {
        loop {
            let key = Value(scanner.string()?);
            scanner.pass(b':')?;
            let value = Value(scanner.value()?);
            each(&key.text().unwrap_or_default(), value);
            if !scanner.passes(b',') {
                break;
            }
        }
        scanner.pass(b'}')?;
    }
    if scanner.peek().is_none() { Ok(()) } else { Err(NotJson) }
}

/// Calls `fits` for the items of an array until it returns `true`.
fn items<'a>(text: &'a str, mut fits: impl FnMut(Value<'a>) -> bool) -> Result<bool, NotJson> {
    let mut scanner = JsonScanner::new(text);
    scanner.pass(b'[')?;
    while scanner.peek() != Some(b']') {
        if fits(Value(scanner.value()?)) {
            return Ok(true);
        }
        scanner.passes(b',');
    }
    Ok(false)
}

/// Line and column, counted from 1, at which a text stops being one JSON object.
fn place_of_fault(text: &str) -> (usize, usize) {
    serde_json::from_str::<Object>(text).err().map_or((1, 1), |error| (error.line(), error.column()))
}

/// Parses any JSON object, to find where a text stops being one.
struct Object;

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(Self)
    }
}

impl<'de> Visitor<'de> for Object {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_key_seed(Text)?.is_some() {
            map.next_value::<IgnoredAny>()?;
        }
        Ok(self)
    }
}

/// Parses a string that may hold half a surrogate pair, which `serde_json` refuses as `str` and accepts as bytes.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_bytes<E: serde::de::Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        // The whole text is known to be UTF-8, so this error cannot occur.
        std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| E::custom("not UTF-8"))
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(String::from_utf8_lossy(bytes).into_owned()))
    }
}
