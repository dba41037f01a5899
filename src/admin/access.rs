//! Who may see the private pages of the admin listener, and from where a browser may change something.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use http::uri::Authority;

use crate::auth::split_scheme;
use crate::secret::TokenDigest;

/// What a browser says about the site that made it send a request (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The reason why a page is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AccessDenied {
    /// The token is missing or wrong.
    #[error(
        "this page asks for the token of admin.token: as the password of Basic with any user, or as Bearer"
    )]
    Credentials,
    /// A name that is not this machine's own could be one that another site has pointed here.
    #[error("without admin.token, Host must be an IP address or a name without a dot, such as localhost")]
    Host,
    /// Another site made a browser send the request.
    #[error("a page of another site cannot ask for this; Origin must name the same host and port as Host")]
    Origin,
}

/// Checks a request for a private page. Without a configured token everyone may see it who can connect.
pub(super) fn check(headers: &HeaderMap, token: Option<&TokenDigest>) -> Result<(), AccessDenied> {
    match token {
        Some(token) if credentials(headers).is_some_and(|given| given.matches(token)) => Ok(()),
        Some(_) => Err(AccessDenied::Credentials),
        // A browser always sends it.
        None if headers.get(HOST).is_none() => Ok(()),
        None if host(headers).is_some_and(|host| is_own(host.host())) => Ok(()),
        None => Err(AccessDenied::Host),
    }
}

/// Checks a request that changes something: a browser sends credentials along that it has, whoever asks it to.
pub(super) fn check_change(headers: &HeaderMap) -> Result<(), AccessDenied> {
    let is_same = |origin: &[u8]| {
        let scheme = origin.iter().position(|byte| *byte == b'/').map_or(0, |slash| slash + 2);
        let authority = origin.get(scheme..).and_then(|authority| Authority::try_from(authority).ok());
        authority.is_some() && authority == host(headers)
    };
    let from_elsewhere = headers
        .get(SEC_FETCH_SITE)
        .is_some_and(|site| !(site.as_bytes() == b"same-origin" || site.as_bytes() == b"none"));
    match headers.get(ORIGIN) {
        _ if from_elsewhere => Err(AccessDenied::Origin),
        Some(origin) if !is_same(origin.as_bytes()) => Err(AccessDenied::Origin),
        Some(_) | None => Ok(()),
    }
}

fn credentials(headers: &HeaderMap) -> Option<TokenDigest> {
    let (scheme, given) = split_scheme(headers.get(AUTHORIZATION)?.as_bytes())?;
    if scheme.eq_ignore_ascii_case(b"Bearer") {
        return Some(TokenDigest::of(given));
    }
    if !scheme.eq_ignore_ascii_case(b"Basic") {
        return None;
    }
    let pair = zeroize::Zeroizing::new(STANDARD.decode(given).ok()?);
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(TokenDigest::of(&pair[colon + 1..]))
}

fn host(headers: &HeaderMap) -> Option<Authority> {
    Authority::try_from(headers.get(HOST)?.as_bytes()).ok()
}

/// Whether a host name is none that a stranger can own: names without a dot are given within a network.
fn is_own(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    address.parse::<IpAddr>().is_ok()
        || !host.contains('.')
        || host.to_ascii_lowercase().ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let value = |value: &str| HeaderValue::from_str(value).expect("a value");
        pairs.iter().map(|(name, text)| (name.clone(), value(text))).collect()
    }

    #[test]
    fn a_token_is_taken_as_bearer_and_as_the_password_of_any_user() {
        let token = TokenDigest::of(b"operatorToken20261127abc");
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let good = ["Bearer operatorToken20261127abc", "bearer  operatorToken20261127abc"].map(String::from);
        for value in good
            .into_iter()
            .chain([":", "admin:", "a:"].map(|user| basic(&format!("{user}operatorToken20261127abc"))))
        {
            let result = check(&headers(&[(AUTHORIZATION, &value)]), Some(&token));
            assert_eq!(result, Ok(()), "{value}");
        }
        let wrong = [
            basic("operatorToken20261127abc:"),
            basic("operatorToken20261127abc"),
            "Basic !".into(),
            "Bearer".into(),
            "Digest operatorToken20261127abc".into(),
        ];
        for value in wrong {
            let result = check(&headers(&[(AUTHORIZATION, &value)]), Some(&token));
            assert_eq!(result, Err(AccessDenied::Credentials), "{value}");
        }
        assert_eq!(check(&headers(&[(HOST, "127.0.0.1")]), Some(&token)), Err(AccessDenied::Credentials));
    }

    #[test]
    fn without_a_token_the_host_cannot_be_a_name_of_others() {
        for host in [
            "127.0.0.1:9090",
            "localhost",
            "LOCALHOST:9090",
            "[::1]:9090",
            "10.0.0.7",
            "gw.localhost:1",
            "gateway",
        ] {
            assert_eq!(check(&headers(&[(HOST, host)]), None), Ok(()), "{host}");
        }
        for host in ["rebound.example:9090", "localhost.example", "127.0.0.1.example", "a b"] {
            assert_eq!(check(&headers(&[(HOST, host)]), None), Err(AccessDenied::Host), "{host}");
        }
        assert_eq!(check(&headers(&[]), None), Ok(()), "no browser");
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let host = (HOST, "127.0.0.1:9090");
        let origin = |origin| check_change(&headers(&[host.clone(), (ORIGIN, origin)]));
        assert_eq!(check_change(&headers(std::slice::from_ref(&host))), Ok(()), "curl sends no Origin");
        assert_eq!(origin("http://127.0.0.1:9090"), Ok(()));
        for other in
            ["http://evil.example", "http://127.0.0.1:9091", "http://127.0.0.1", "null", "", "http://"]
        {
            assert_eq!(origin(other), Err(AccessDenied::Origin), "{other}");
        }
        for (site, result) in [
            ("same-origin", Ok(())),
            ("none", Ok(())),
            ("same-site", Err(AccessDenied::Origin)),
            ("cross-site", Err(AccessDenied::Origin)),
        ] {
            assert_eq!(check_change(&headers(&[host.clone(), (SEC_FETCH_SITE, site)])), result, "{site}");
        }
    }
}
