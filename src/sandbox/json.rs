//! Reads JSON objects as the vendor's Java parsers do: a byte order mark is skipped, and half of a surrogate pair, left
//! over from an emoji that was cut, is accepted.

use serde_json::{Map, Value};

/// Parses an object; `None` if the body is none.
pub(super) fn object(body: &[u8]) -> Option<Map<String, Value>> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    serde_json::from_slice(body).or_else(|_| serde_json::from_slice(&without_halves(body))).ok()
}

/// A member of an object; `null` counts as absent.
pub(super) fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// A member that is a text and not empty.
pub(super) fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    member(object, name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Replaces escaped halves of surrogate pairs by U+FFFD.
fn without_halves(body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((&byte, behind)) = rest.split_first() {
        let (piece, length): (&[u8], _) = match (escape(rest), rest.get(6..).and_then(escape)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => (&rest[..12], 12),
            (Some(0xD800..=0xDFFF), _) => (br"\ufffd", 6),
            // An escaped character starts no escape itself.
            _ if byte == b'\\' && !behind.is_empty() => (&rest[..2], 2),
            _ => (&rest[..1], 1),
        };
        whole.extend_from_slice(piece);
        rest = &rest[length..];
    }
    whole
}

/// The number in `\u` and four digits; `None` for anything else.
fn escape(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(br"\u")?.get(..4)?;
    let digits = digits.iter().all(u8::is_ascii_hexdigit).then(|| str::from_utf8(digits).ok())??;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::object;

    #[test]
    fn texts_are_read_as_java_reads_them() {
        let rows = [
            ("\u{feff}{\"a\":\"b\"}", Some("b")),
            (r#"{"a":"\ud83d\ude00"}"#, Some("\u{1f600}")),
            (r#"{"a":"\ud83d"}"#, Some("\u{fffd}")),
            (r#"{"a":"\ude00\ud83dx\uD83D\uD83D\uDE00"}"#, Some("\u{fffd}\u{fffd}x\u{fffd}\u{1f600}")),
            (r#"{"a":"\\ud83d"}"#, Some("\\ud83d")),
            (r#"{"a":"\\\ud83d"}"#, Some("\\\u{fffd}")),
            ("\u{feff}\u{feff}{}", None),
            (r#"{"a":"\ud83g"}"#, None),
            (r#"{"a":"\"#, None),
            (r#"["\ud83d"]"#, None),
        ];
        for (text, expected) in rows {
            let read = object(text.as_bytes());
            assert_eq!(read.as_ref().map(|object| object["a"].as_str()), expected.map(Some), "{text}");
        }
    }
}
