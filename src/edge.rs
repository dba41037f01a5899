//! The strict edge: what hyper lets through and a gateway must not (`RFC 9112`, 11; request smuggling).
//!
//! Nothing here knows the vendor. It runs before anything else looks at a request.

use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderMap, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, Version};

use crate::refusal::Refusal;

/// Header section limits (bytes, fields).
pub const HEADER_BYTES_MAX: usize = 32 * 1024;
/// Number of header fields.
pub const HEADER_FIELDS_MAX: usize = 100;

/// Refuses requests that two programs could read differently.
pub fn check(parts: &Parts) -> Result<(), Refusal> {
    let headers = &parts.headers;
    if parts.method == Method::CONNECT {
        return Err(Refusal::Unroutable("CONNECT is not served here"));
    }
    if parts.uri.path() == "*" {
        return Err(Refusal::Unroutable("the request target '*' is not served here"));
    }
    if headers.len() > HEADER_FIELDS_MAX || section_bytes(headers) > HEADER_BYTES_MAX {
        return Err(Refusal::HeaderTooLarge { limit: "32 KiB or 100 fields" });
    }
    if more_than_one(headers, &AUTHORIZATION) {
        return Err(Refusal::Unroutable("two Authorization headers; send one"));
    }
    check_framing(headers)?;
    if parts.version == Version::HTTP_2 { Ok(()) } else { check_host(parts) }
}

fn check_framing(headers: &HeaderMap) -> Result<(), Refusal> {
    if let Some(coding) = headers.get(TRANSFER_ENCODING) {
        if headers.contains_key(CONTENT_LENGTH) {
            return Err(Refusal::Unroutable(
                "Content-Length together with Transfer-Encoding; send one of them",
            ));
        }
        if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") || more_than_one(headers, &TRANSFER_ENCODING) {
            return Err(Refusal::Unroutable("the only Transfer-Encoding served here is 'chunked'"));
        }
    }
    if more_than_one(headers, &CONTENT_LENGTH) {
        return Err(Refusal::Unroutable("two Content-Length headers; send one"));
    }
    Ok(())
}

fn check_host(parts: &Parts) -> Result<(), Refusal> {
    let Some(host) = parts.headers.get(HOST) else {
        return Err(Refusal::Unroutable("no Host header"));
    };
    if more_than_one(&parts.headers, &HOST) {
        return Err(Refusal::Unroutable("two Host headers; send one"));
    }
    match parts.uri.authority() {
        Some(authority) if !authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()) => {
            Err(Refusal::Unroutable("the request target names another host than the Host header"))
        }
        _ => Ok(()),
    }
}

fn more_than_one(headers: &HeaderMap, name: &http::HeaderName) -> bool {
    // A name that occurs once has exactly one value; `keys_len` cannot tell which name repeats.
    headers.len() != headers.keys_len() && headers.get_all(name).iter().nth(1).is_some()
}

/// Bytes of the header section as it stood on the wire, line ends included.
fn section_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_request(
        build: impl FnOnce(http::request::Builder) -> http::request::Builder,
    ) -> Result<(), &'static str> {
        let request = build(http::Request::builder().uri("/v3/push")).body(()).expect("a request");
        check(&request.into_parts().0).map_err(|refusal| refusal.reason())
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let host = |request: http::request::Builder| request.header("host", "gateway");
        assert_eq!(check_request(host), Ok(()));
        assert_eq!(check_request(|r| host(r).method("POST").header("transfer-encoding", "Chunked")), Ok(()));
        assert_eq!(check_request(|r| host(r).uri("http://GATEWAY/v3/push")), Ok(()));
        assert_eq!(check_request(|r| r.version(Version::HTTP_2)), Ok(()));
        let bad: [fn(http::request::Builder) -> http::request::Builder; 9] = [
            |r| r,
            |r| r.header("host", "a").header("host", "a"),
            |r| r.header("host", "a").header("authorization", "x").header("authorization", "x"),
            |r| r.header("host", "a").header("content-length", "1").header("transfer-encoding", "chunked"),
            |r| r.header("host", "a").header("content-length", "1").header("content-length", "1"),
            |r| r.header("host", "a").header("transfer-encoding", "gzip, chunked"),
            |r| r.header("host", "a").uri("http://other/v3/push"),
            |r| r.header("host", "a").method("CONNECT"),
            |r| r.header("host", "a").method("OPTIONS").uri("*"),
        ];
        for (row, build) in bad.into_iter().enumerate() {
            assert_eq!(check_request(build), Err("bad-request"), "row {row}");
        }
    }

    #[test]
    fn the_header_section_has_limits_on_both_sides() {
        let fields = |count: usize| {
            check_request(|r| (1..count).fold(r.header("host", "a"), |r, n| r.header(format!("x-{n}"), "")))
        };
        assert_eq!(fields(HEADER_FIELDS_MAX), Ok(()));
        assert_eq!(fields(HEADER_FIELDS_MAX + 1), Err("header-too-large"));
        let bytes = |count: usize| {
            let rest = count - "host: a\r\nx: \r\n".len();
            check_request(|r| r.header("host", "a").header("x", "y".repeat(rest)))
        };
        assert_eq!(bytes(HEADER_BYTES_MAX), Ok(()));
        assert_eq!(bytes(HEADER_BYTES_MAX + 1), Err("header-too-large"));
    }
}
