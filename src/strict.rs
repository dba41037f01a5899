//! The strict edge: what two programs could read differently and a gateway must not pass on (`RFC 9112`, 11; request
//! smuggling).
//!
//! Nothing here knows the vendor. It runs before anything else looks at a request.

use http::{Method, Version};

use crate::http1::fields::FieldValue;
use crate::http1::framing::{Chunk, Framing};
use crate::refusal::Refusal;
use crate::request::{Field, RequestHead};
use crate::target::is_host;

/// Header section limits (bytes, fields).
pub const HEADER_BYTES_MAX: usize = 32 * 1024;
/// Number of header fields.
pub const HEADER_FIELDS_MAX: usize = 100;

/// Refuses requests that two programs could read differently.
pub fn check(head: &RequestHead) -> Result<(), Refusal> {
    if head.method == Method::CONNECT {
        return Err(Refusal::Unroutable("CONNECT is not served here"));
    }
    if head.target.path() == "*" {
        return Err(Refusal::Unroutable("the request target '*' is not served here"));
    }
    if head.section_fields > HEADER_FIELDS_MAX || head.section_bytes > HEADER_BYTES_MAX {
        return Err(Refusal::HeaderTooLarge { limit: "32 KiB or 100 fields" });
    }
    one(head, Field::Authorization, "two Authorization headers; send one")?;
    check_host(head)?;
    if head.version == Version::HTTP_2 { Ok(()) } else { framing(head).map(|_| ()) }
}

/// How the body of an HTTP/1 request lies on its connection (RFC 9112, 6.3), if that can be read in one way only.
pub fn framing(head: &RequestHead) -> Result<Framing, Refusal> {
    let length = one(head, Field::ContentLength, "two Content-Length headers; send one")?;
    let other = Refusal::Unroutable("the only Transfer-Encoding served here is 'chunked'");
    let Ok(coding) = head.one(Field::TransferEncoding) else { return Err(other) };
    match (length, coding) {
        (None, None) => Ok(Framing::Length(0)),
        (Some(length), None) => declared(&length)
            .map(Framing::Length)
            .ok_or(Refusal::Unroutable("Content-Length is not a number of bytes")),
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked(Chunk::Head)),
        (None, Some(_)) => Err(other),
        (Some(_), Some(_)) => {
            Err(Refusal::Unroutable("Content-Length together with Transfer-Encoding; send one of them"))
        }
    }
}

/// Digits alone: no sign, no list, nothing that would not fit.
fn declared(length: &[u8]) -> Option<u64> {
    let digits = length.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(length).ok().filter(|_| digits)?.parse().ok()
}

/// One host, the same wherever it is named, and a host by its form.
fn check_host(head: &RequestHead) -> Result<(), Refusal> {
    let host = one(head, Field::Host, "two Host headers; send one")?;
    let authority = head.target.authority().map(str::as_bytes);
    let named = match (host.as_deref(), authority) {
        (Some(host), Some(authority)) if !authority.eq_ignore_ascii_case(host) => {
            return Err(Refusal::Unroutable("the request target names another host than the Host header"));
        }
        (Some(host), _) => host,
        // It stands in the place of the header (RFC 9113, 8.3.1).
        (None, Some(authority)) if head.version == Version::HTTP_2 => authority,
        // Load balancers still ask as it was before there was a Host.
        (None, _) if head.version == Version::HTTP_10 && head.is_probe() => return Ok(()),
        (None, _) => return Err(Refusal::Unroutable("no Host header")),
    };
    // A header may say that there is none, a target with a scheme may not (RFC 9110, 4.2.1).
    if is_host(named) && authority.is_none_or(|authority| !authority.is_empty()) {
        return Ok(());
    }
    Err(Refusal::Unroutable("the host is no name or address, with or without a port"))
}

fn one<'h>(
    head: &'h RequestHead,
    field: Field,
    repeated: &'static str,
) -> Result<Option<FieldValue<'h>>, Refusal> {
    head.one(field).map_err(|_| Refusal::Unroutable(repeated))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_request(
        build: impl FnOnce(http::request::Builder) -> http::request::Builder,
    ) -> Result<(), &'static str> {
        let request = build(http::Request::builder().uri("/v3/push")).body(()).expect("a request");
        check(&RequestHead::from(request.into_parts().0)).map_err(|refusal| refusal.reason())
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let host = |request: http::request::Builder| request.header("host", "gateway");
        assert_eq!(check_request(host), Ok(()));
        assert_eq!(check_request(|r| host(r).method("POST").header("transfer-encoding", "Chunked")), Ok(()));
        assert_eq!(check_request(|r| host(r).uri("http://GATEWAY/v3/push")), Ok(()));
        assert_eq!(check_request(|r| r.version(Version::HTTP_2).uri("https://a/v3/push")), Ok(()));
        assert_eq!(check_request(|r| host(r).version(Version::HTTP_2)), Ok(()));
        assert_eq!(check_request(|r| r.version(Version::HTTP_10).uri("/?x")), Ok(()));
        let bad: [fn(http::request::Builder) -> http::request::Builder; 21] = [
            |r| r,
            |r| r.version(Version::HTTP_2),
            |r| r.version(Version::HTTP_2).uri("https://a@b/v3/push"),
            |r| r.version(Version::HTTP_2).uri("https://a/v3/push").header("host", "b"),
            |r| r.version(Version::HTTP_2).header("host", "a").header("host", "a"),
            |r| r.version(Version::HTTP_10),
            |r| r.version(Version::HTTP_10).method("POST").uri("/"),
            |r| r.header("host", "a b"),
            |r| r.header("host", "a@b").uri("http://a@b/v3/push"),
            |r| r.header("host", "a").header("host", "a"),
            |r| r.header("host", "a").header("authorization", "x").header("authorization", "x"),
            |r| r.header("host", "a").header("content-length", "1").header("transfer-encoding", "chunked"),
            |r| r.header("host", "a").header("content-length", "1").header("content-length", "1"),
            |r| r.header("host", "a").header("content-length", "1, 1"),
            |r| r.header("host", "a").header("content-length", "+1"),
            |r| r.header("host", "a").header("content-length", ""),
            |r| r.header("host", "a").header("content-length", "18446744073709551616"),
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
