//! Refuses requests that two programs could read differently, which a gateway must not pass on (`RFC 9112`, 11; request
//! smuggling).
//!
//! Nothing here knows the vendor. These checks run before anything else looks at a request.

use http::{Method, Version};

use crate::http1::head::BadFraming;
use crate::http1::host::{self, BadHost};
use crate::refusal::Refusal;
use crate::request::{Field, RequestHead, is_probe};

/// The most bytes of a header section.
pub const HEADER_BYTES_MAX: usize = 32 * 1024;
/// The most fields of a header section.
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
    head.one(Field::Authorization).map_err(|_| Refusal::Unroutable("two Authorization headers; send one"))?;
    check_host(head)?;
    head.check_framing().map_err(|why| match why {
        BadFraming::RepeatedLength => Refusal::Unroutable("two Content-Length headers; send one"),
        BadFraming::BadLength => Refusal::Unroutable("Content-Length is not a number of bytes"),
        BadFraming::OtherCoding => Refusal::Unroutable("the only Transfer-Encoding served here is 'chunked'"),
        BadFraming::LengthAndCoding => {
            Refusal::Unroutable("Content-Length together with Transfer-Encoding; send one of them")
        }
    })
}

fn check_host(head: &RequestHead) -> Result<(), Refusal> {
    let Err(why) = host::check_host(head) else { return Ok(()) };
    Err(Refusal::Unroutable(match why {
        BadHost::Repeated => "two Host headers; send one",
        // Load balancers still send HTTP/1.0 requests, from before the Host header.
        BadHost::Missing if head.version == Version::HTTP_10 && is_probe(head) => return Ok(()),
        BadHost::Missing => "no Host header",
        BadHost::Differs => "the request target names another host than the Host header",
        BadHost::Malformed => "the host is no name or address, with or without a port",
    }))
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
