//! Percent-decoding, which paths, queries and file names need.

/// Decodes percent-encoding; anything else stays as it is.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escape = tail.get(..2).filter(|digits| first == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let value = escape.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(value.unwrap_or(first));
        rest = if value.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn percent_encoding_is_undone() {
        for (text, expected) in
            [("a%20b", "a b"), ("1%2C2", "1,2"), ("%E4%BD%A0", "你"), ("100%", "100%"), ("%zz%+1", "%zz%+1")]
        {
            assert_eq!(decoded(text), expected);
        }
    }
}
