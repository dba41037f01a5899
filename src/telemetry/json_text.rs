//! JSON values of log lines, written by hand. Every push writes two lines, and the standard library's formatting costs
//! about 4,000 instructions for them, a fifteenth of a push.

use std::cell::Cell;
use std::time::{Duration, UNIX_EPOCH};

/// Bytes of `2026-11-27T07:58:12`.
const SECOND_BYTES: usize = 19;
/// Bytes of a text that are looked at at once.
const WORD_BYTES: usize = 16;

thread_local! {
    /// The last second that was written on this thread, with its text.
    static LAST_SECOND: Cell<(u64, [u8; SECOND_BYTES])> = const { Cell::new((u64::MAX, [0; SECOND_BYTES])) };
}

/// Appends the time so long after 1970 in quotes, as RFC 3339 in UTC with milliseconds.
pub(super) fn time(buffer: &mut Vec<u8>, since: Duration) {
    let mut last = LAST_SECOND.get();
    if last.0 != since.as_secs() {
        let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string();
        let second = text.as_bytes()[..SECOND_BYTES].try_into().expect("the text of a second is longer");
        last = (since.as_secs(), second);
        LAST_SECOND.set(last);
    }
    buffer.push(b'"');
    buffer.extend_from_slice(&last.1);
    buffer.push(b'.');
    buffer.extend_from_slice(&three_digits(since.subsec_millis()));
    buffer.extend_from_slice(b"Z\"");
}

/// Appends a whole number, or `null`.
pub(super) fn number(buffer: &mut Vec<u8>, value: Option<u64>) {
    match value {
        None => buffer.extend_from_slice(b"null"),
        Some(value) => buffer.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
    }
}

/// Appends a word of the gateway's own in quotes, or `null`.
pub(super) fn word(buffer: &mut Vec<u8>, word: Option<&'static str>) {
    match word {
        None => buffer.extend_from_slice(b"null"),
        Some(word) => {
            debug_assert!(plain(&mut Vec::new(), word), "{word} needs no escape");
            buffer.push(b'"');
            buffer.extend_from_slice(word.as_bytes());
            buffer.push(b'"');
        }
    }
}

/// Appends text in quotes as it is, if it is printable ASCII without quotes and backslashes; tells whether it was.
pub(super) fn plain(buffer: &mut Vec<u8>, value: &str) -> bool {
    let before = buffer.len();
    buffer.push(b'"');
    buffer.extend_from_slice(value.as_bytes());
    let end = buffer.len();
    // Filled up, so that whole words can be looked at: the compiler takes each of them at once.
    buffer.extend_from_slice(&[b' '; WORD_BYTES]);
    let is_special = |byte: u8| !matches!(byte, b' '..=b'~') | matches!(byte, b'"' | b'\\');
    let has_special = |word: &[u8; WORD_BYTES]| word.iter().fold(false, |has, byte| has | is_special(*byte));
    let is_plain = !buffer[before + 1..].as_chunks().0.iter().any(has_special);
    buffer.truncate(if is_plain { end } else { before });
    if is_plain {
        buffer.push(b'"');
    }
    is_plain
}

/// The last three digits of a number.
pub(super) fn three_digits(number: u32) -> [u8; 3] {
    let digit = |divisor: u32| b'0' + u8::try_from(number / divisor % 10).expect("one digit");
    [digit(100), digit(10), digit(1)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut buffer = Vec::new();
        write(&mut buffer);
        String::from_utf8(buffer).expect("UTF-8")
    }

    proptest! {
        #[test]
        fn times_are_those_of_the_library(millis in 0_u64..253_402_300_800_000, again in 0_u64..2_000) {
            for millis in [millis, millis.saturating_sub(again)] {
                let since = Duration::from_millis(millis);
                let expected = format!("\"{}\"", humantime::format_rfc3339_millis(UNIX_EPOCH + since));
                prop_assert_eq!(written(|buffer| time(buffer, since)), expected);
            }
        }

        #[test]
        fn plain_text_is_what_json_writes_as_it_is(text in "[ -~]{0,40}|.{0,40}") {
            let json = serde_json::to_string(&text).expect("text");
            let as_it_is = text.is_ascii() && !text.contains('\u{7f}') && json.len() == text.len() + 2;
            let mut buffer = Vec::new();
            prop_assert_eq!(plain(&mut buffer, &text), as_it_is);
            prop_assert_eq!(String::from_utf8(buffer).expect("UTF-8"), if as_it_is { json } else { String::new() });
        }
    }

    #[test]
    fn numbers_are_written_in_full() {
        assert_eq!(written(|buffer| number(buffer, Some(u64::MAX))), u64::MAX.to_string());
        assert_eq!(written(|buffer| number(buffer, None)), "null");
        assert_eq!([7, 1_042].map(three_digits), [*b"007", *b"042"]);
    }
}
