//! Parses base URLs. Plain text is accepted to this machine only, unless the configuration allows more.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::base_url::BaseUrl;
use super::reader::ConfigValue;

/// Hosts to which `http://` is accepted.
#[derive(Clone, Copy)]
pub(super) enum Plaintext {
    /// Only hosts that are this machine.
    Loopback,
    /// Any host, because `vendor.allow_plaintext` is set.
    Anywhere,
}

/// Reads `https://host[:port]`. Messages never quote it: it may hold a password.
pub(super) fn read(value: &ConfigValue<'_>, plaintext: Plaintext) -> Option<BaseUrl> {
    let url = match parse(value.text()?) {
        Ok(url) => url,
        Err(problem) => return value.refuse(problem),
    };
    match plaintext {
        Plaintext::Loopback if !url.tls && !url.is_loopback() => value.refuse(
            "http:// would send secrets in plain text; write https://, or set vendor.allow_plaintext",
        ),
        _ => Some(url),
    }
}

/// Reads `http://host:port` of a proxy. Messages never quote it either.
pub(super) fn read_proxy(value: &ConfigValue<'_>) -> Option<BaseUrl> {
    let text = value.text()?;
    if text.contains('@') {
        return value.refuse(
            "a user or a password has no place in the URL, which is shown and logged; write \
             proxy: { url: \"http://host:port\", user: NAME, password: { file: PATH } }, or { env: NAME }",
        );
    }
    if !text.starts_with("http://") {
        return value.refuse("expected http://host:port; TLS is spoken to the vendor, not to the proxy");
    }
    match split(text) {
        Ok((tls, host, Some(port))) => Some(BaseUrl { tls, host, port }),
        Ok((_, _, None)) => value.refuse("the port is missing"),
        Err(problem) => value.refuse(problem),
    }
}

/// Parses a base URL, whatever its scheme and host.
pub(super) fn parse(text: &str) -> Result<BaseUrl, &'static str> {
    let (tls, host, port) = split(text)?;
    Ok(BaseUrl { tls, host, port: port.unwrap_or(if tls { 443 } else { 80 }) })
}

/// Splits a URL: whether it is `https://`, the host, and the port if one is written.
fn split(text: &str) -> Result<(bool, String, Option<u16>), &'static str> {
    let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return Err("expected https://host or https://host:port"),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        return Err("a user or a password has no place here");
    }
    if authority.contains(['/', '?', '#']) {
        return Err("it ends with the host or the port: no path, no query");
    }
    let (host, port) = split_port(authority)?;
    Ok((tls, read_host(host)?, port))
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    let colon = match authority.rfind(']') {
        Some(bracket) if bracket + 1 == authority.len() => None,
        Some(bracket) => Some(bracket + 1),
        None => authority.find(':'),
    };
    let Some(colon) = colon else { return Ok((authority, None)) };
    let (host, port) = authority.split_at(colon);
    let digits = port.strip_prefix(':').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(port @ 1..) => Ok((host, Some(port))),
        _ => Err("the port is not a number from 1 to 65535"),
    }
}

/// Checks a host and returns it as a name in lower case or as an address without brackets.
fn read_host(host: &str) -> Result<String, &'static str> {
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').and_then(|address| address.parse::<Ipv6Addr>().ok());
        return address.map(|address| address.to_string()).ok_or("not an IPv6 address in brackets");
    }
    if host.parse::<Ipv4Addr>().is_ok() {
        return Ok(host.to_owned());
    }
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let label = |label: &str| matches!(label.len(), 1..=63) && label.bytes().all(letter);
    // The system's resolver takes 127.1 and 0x7f000001 for addresses, so a host whose last label starts with a digit is
    // refused.
    let last = host.rsplit('.').next().unwrap_or(host);
    let numeric = last.starts_with(|first: char| first.is_ascii_digit());
    if host.len() > 253 || !host.split('.').all(label) || numeric {
        return Err("the host is neither a name nor an address");
    }
    Ok(host.to_ascii_lowercase())
}
