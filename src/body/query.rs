//! Checks the query of a call that fetches cids: their number and their use.

use std::borrow::Cow;

use super::{BodyFault, Rule, Verdict};

/// Upper bound of cids in one call (`docs/vendor.md`, V25).
const COUNT_MAX: u32 = 1000;

/// Checks every occurrence of a parameter, because which one the vendor reads is unknown.
pub(super) fn check(query: &str) -> Verdict {
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match &*decode(name) {
            "count" => check_count(&decode(value))?,
            "type" => check_type(&decode(value))?,
            _ => {}
        }
    }
    Ok(())
}

/// All values of one parameter in a query, decoded.
pub(super) fn values<'q>(query: Option<&'q str>, name: &str) -> impl Iterator<Item = Cow<'q, str>> {
    let pairs = query.into_iter().flat_map(|query| query.split('&'));
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(move |(key, _)| decode(key) == name).map(|(_, value)| decode(value))
}

fn check_count(value: &str) -> Verdict {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    match value.parse() {
        Ok(1..=COUNT_MAX) if digits => Ok(()),
        _ => Err(BodyFault::new(Rule::CidCount, "count is not a whole number from 1 to 1000")),
    }
}

fn check_type(value: &str) -> Verdict {
    match value {
        "push" | "schedule" => Ok(()),
        _ => Err(BodyFault::new(Rule::CidType, "type is neither push nor schedule")),
    }
}

/// Decodes percent-encoding. Bytes that are not UTF-8 become U+FFFD, which equals nothing that it is compared with.
pub(super) fn decode(value: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'%', b'+', value.as_bytes()).is_none() {
        return Cow::Borrowed(value);
    }
    Cow::Owned(String::from_utf8_lossy(&unescape(value.as_bytes(), b'%', b'+')).into_owned())
}

/// Decodes bytes written as an escape and two hexadecimal digits, with a character that stands for the space. Anything
/// else stays as it is.
pub(super) fn unescape(value: &[u8], escape: u8, space: u8) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match tail {
            &[high, low, ref behind @ ..] if byte == escape => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = behind;
                }
                _ => bytes.push(byte),
            },
            _ if byte == space => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    bytes
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
