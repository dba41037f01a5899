//! Reads `vendor`: settings of connections, and the base URLs of tenants without their own.

use std::time::Duration;

use super::base_url::{BaseUrl, BaseUrls, Region};
use super::proxy;
use super::reader::{Section, Zero};
use super::sources::Outside;
use super::urls::{self, Plaintext};
use super::values::Vendor;
use crate::operation::Host;

const BEIJING: &str = "https://bjapi.push.jiguang.cn";

/// The base URL that the vendor documents; `EngageLab`'s depends on the region and is off unless configured.
const fn documented(host: Host) -> Option<&'static str> {
    match host {
        Host::Api => Some("https://api.jpush.cn"),
        Host::Device => Some("https://device.jpush.cn"),
        Host::Report => Some("https://report.jpush.cn"),
        Host::ImageV4 => None,
    }
}

fn builtin(url: &str) -> BaseUrl {
    urls::parse(url).expect("the built-in base URLs are valid; a test reads them")
}

/// The file's base URLs, from which those of each tenant are derived.
pub(super) struct Defaults {
    urls: BaseUrls,
    plaintext: Plaintext,
}

impl Defaults {
    /// The base URLs of one tenant: its own first, then the file's. In the Beijing region, Beijing's host stands in for
    /// documented ones.
    pub(super) fn for_tenant(&self, own: &mut Section<'_>, region: Region) -> BaseUrls {
        BaseUrls::from_fn(|host| {
            let own = own.get(host.as_str()).and_then(|value| urls::read(&value, self.plaintext));
            own.or_else(|| self.of(host, region))
        })
    }

    fn of(&self, host: Host, region: Region) -> Option<BaseUrl> {
        let url = self.urls.of(host)?;
        let documented = documented(host).is_some_and(|documented| *url == builtin(documented));
        Some(if documented && region == Region::Beijing { builtin(BEIJING) } else { url.clone() })
    }
}

/// Reads the section. The second value has the base URLs that hold for all tenants.
pub(super) fn read(file: &mut Section<'_>, outside: &Outside<'_>) -> (Vendor, Defaults) {
    let mut section = file.section("vendor");
    let plaintext =
        if section.flag("allow_plaintext", false) { Plaintext::Anywhere } else { Plaintext::Loopback };
    let urls = BaseUrls::from_fn(|host| {
        let written = section.get(host.as_str()).and_then(|value| urls::read(&value, plaintext));
        written.or_else(|| documented(host).map(builtin))
    });
    let vendor = Vendor {
        ca: section.get("ca").and_then(|value| outside.roots(&value)),
        proxy: section.get("proxy").and_then(|value| proxy::read(&value, outside)),
        forward_trace: section.flag("forward_trace", false),
        connect_timeout: section.duration("connect_timeout", Zero::Refused, Duration::from_secs(3)),
        response_timeout: section.duration("response_timeout", Zero::Refused, Duration::from_secs(25)),
    };
    (vendor, Defaults { urls, plaintext })
}
