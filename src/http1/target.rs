//! The target of a request (RFC 9112, 3.2), kept byte for byte as it came. Pure.
//!
//! Libraries for URIs normalise what they parse, cutting fragments off without a word, so what they are given would
//! not be what is judged. Nothing here changes a byte: a target is taken apart, to be judged as it was sent.

/// A target: `/path?query`, with the authority in front of it if one was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    text: Box<str>,
    /// Start of the path and query.
    path_start: usize,
    /// End of the path, and the place of the question mark if there is a query.
    path_end: usize,
    authority: Option<Box<str>>,
}

impl Target {
    /// Takes the target of a request line apart. Every text is one; what is none of use is refused where it is judged.
    pub fn parse(raw: &str) -> Self {
        let Some(rest) = behind_scheme(raw) else { return Self::new(raw, 0, None) };
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(authority_end);
        match rest {
            "" => Self::new("/", 0, Some(authority)),
            // As if its slash were there (RFC 9110, 4.2.3).
            _ if rest.starts_with('?') => Self::new(&format!("/{rest}"), 0, Some(authority)),
            _ => Self::new(raw, raw.len() - rest.len(), Some(authority)),
        }
    }

    /// Puts the pseudo-fields of HTTP/2 together.
    pub fn of_parts(authority: Option<&str>, path_and_query: &str) -> Self {
        Self::new(path_and_query, 0, authority)
    }

    fn new(text: &str, path_start: usize, authority: Option<&str>) -> Self {
        let path_and_query = &text.as_bytes()[path_start..];
        let path_length = memchr::memchr(b'?', path_and_query).unwrap_or(path_and_query.len());
        Self {
            text: text.into(),
            path_start,
            path_end: path_start + path_length,
            authority: authority.map(Box::from),
        }
    }

    /// The host and port that were sent with it.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// Its path, as it came.
    pub fn path(&self) -> &str {
        &self.text[self.path_start..self.path_end]
    }

    /// Its query, as it came, without the question mark.
    pub fn query(&self) -> Option<&str> {
        self.text[self.path_end..].strip_prefix('?')
    }

    /// Path and query, as they came.
    pub fn path_and_query(&self) -> &str {
        &self.text[self.path_start..]
    }
}

fn behind_scheme(raw: &str) -> Option<&str> {
    if raw.starts_with('/') {
        return None;
    }
    ["http://", "https://"].into_iter().find_map(|scheme| {
        let (start, rest) = raw.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

/// Whether a text is a host with or without a port (RFC 3986, 3.2.2; RFC 9110, 7.2), which may be empty.
pub fn is_host(text: &[u8]) -> bool {
    let mut name_length = plain_length(text);
    match text.get(name_length) {
        None => return true,
        Some(b'[') if name_length == 0 => match memchr::memchr(b']', text) {
            Some(end) if end > 1 && text[1..end].iter().all(|byte| is_in_address(*byte)) => {
                name_length = end + 1;
            }
            _ => return false,
        },
        Some(b'%') => {
            name_length = memchr::memchr(b':', text).unwrap_or(text.len());
            if !is_name(&text[..name_length]) {
                return false;
            }
        }
        Some(_) => {}
    }
    let port = &text[name_length..];
    port.strip_prefix(b":").map_or(port.is_empty(), |port| port.iter().all(u8::is_ascii_digit))
}

/// Bytes at the beginning that a name may have as they are.
fn plain_length(text: &[u8]) -> usize {
    text.iter().position(|byte| !IN_NAME[usize::from(*byte)]).unwrap_or(text.len())
}

/// Letters, digits and the marks that a name may have. A table: every request asks, for each byte of its host.
static IN_NAME: [bool; 256] = {
    let marks = b"-._~!$&'()*+,;=";
    let (mut table, mut byte) = ([false; 256], 0_u8);
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut mark = 0;
    while mark < marks.len() {
        table[marks[mark] as usize] = true;
        mark += 1;
    }
    table
};

/// Bytes of an address of IPv6.
const fn is_in_address(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')
}

/// Letters, digits, the marks that a name may have, and escapes.
fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let Some((byte, tail)) = rest.split_first() {
        rest = match (byte, tail) {
            (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => tail,
            _ if IN_NAME[usize::from(*byte)] => tail,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_taken_apart_and_not_changed() {
        let rows = [
            ("/v3/push", None, "/v3/push", None),
            ("/a?b?c", None, "/a", Some("b?c")),
            ("/a?", None, "/a", Some("")),
            ("/a#b?c#d", None, "/a#b", Some("c#d")),
            ("//a/b", None, "//a/b", None),
            ("*", None, "*", None),
            ("a:443", None, "a:443", None),
            ("HTTP://h:1/a?b", Some("h:1"), "/a", Some("b")),
            ("https://h", Some("h"), "/", None),
            ("http://h?q", Some("h"), "/", Some("q")),
            ("http://h#/a", Some("h"), "#/a", None),
            ("http://", Some(""), "/", None),
            ("http:/", None, "http:/", None),
            ("ftp://h/a", None, "ftp://h/a", None),
            ("安/安?安", None, "安/安", Some("安")),
        ];
        for (raw, authority, path, query) in rows {
            let target = Target::parse(raw);
            assert_eq!(
                (target.authority(), target.path(), target.query()),
                (authority, path, query),
                "{raw}"
            );
            let whole = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
            assert_eq!(target.path_and_query(), whole, "{raw}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses_with_or_without_a_port() {
        let good = [
            "",
            "a",
            "A.b-c_d.",
            "a:80",
            "a:",
            ":80",
            "127.0.0.1:1",
            "[::1]",
            "[fe80::1]:443",
            "%41b",
            "x!$&'()*+,;=~",
        ];
        for host in good {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        let bad = [
            "a b", "a@b", "[::1", "::1", "[::1]x", "[]", "[g]", "[::1]:x", "a:b", "a:1:2", "a/b", "a?b",
            "a#b", "a\\b", "%4", "%zz", "安", "a\t", "a\"", "<a>", "a]", "a:+1",
        ];
        for host in bad {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
