//! Reads `vendor.proxy`: the HTTP proxy to the vendor, for networks without direct egress.

use super::base_url::BaseUrl;
use super::reader::ConfigValue;
use super::sources::Outside;
use super::urls;
use crate::secret::Secret;

/// An HTTP proxy that the vendor is reached through.
#[derive(PartialEq, Eq)]
pub struct Proxy {
    /// Address of the proxy; always `http://`.
    pub url: BaseUrl,
    /// Credential for the proxy; `None` if it asks for none.
    pub login: Option<ProxyLogin>,
}

/// User and password for the proxy.
pub struct ProxyLogin {
    /// User name without a colon, which Basic authentication cannot carry.
    pub user: String,
    /// Password of the user.
    pub password: Secret,
}

impl PartialEq for ProxyLogin {
    fn eq(&self, other: &Self) -> bool {
        self.user == other.user && self.password.is_same_as(&other.password)
    }
}

impl Eq for ProxyLogin {}

/// Reads `http://host:port`, or a section with that URL, a user and a password.
pub(super) fn read(value: &ConfigValue<'_>, outside: &Outside<'_>) -> Option<Proxy> {
    if !value.is_section() {
        return Some(Proxy { url: urls::read_proxy(value)?, login: None });
    }
    let mut section = value.section().private();
    let url = section.required("url").and_then(|url| urls::read_proxy(&url));
    let (user, password) = (section.get("user"), section.get("password"));
    let login = match (user, password) {
        (None, None) => None,
        (Some(user), Some(password)) => {
            // The checks for placeholders are left out: unlike the vendor's secrets, a password may be any word.
            let (user, secret) = (read_user(&user), outside.secret(&password));
            Some(ProxyLogin { user: user?, password: secret?.0 })
        }
        (Some(_), None) => return value.refuse("user is given without password"),
        (None, Some(_)) => return value.refuse("password is given without user"),
    };
    Some(Proxy { url: url?, login })
}

/// Reads a user name that Basic authentication can carry (RFC 7617, 2).
fn read_user(value: &ConfigValue<'_>) -> Option<String> {
    let user = value.text()?;
    if user.contains(|letter: char| letter == ':' || letter.is_control()) {
        return value.refuse("a colon or a control character, which Basic authentication cannot carry");
    }
    Some(user.to_owned())
}
