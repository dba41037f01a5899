//! Addresses of the vendor's hosts and of a proxy, and the vendor's data centre.

use std::net::IpAddr;

use crate::operation::Host;

/// Base URLs of the vendor's hosts for one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrls([Option<BaseUrl>; Host::ALL.len()]);

impl BaseUrls {
    /// Builds the set by asking `url` for each host.
    pub fn from_fn(mut url: impl FnMut(Host) -> Option<BaseUrl>) -> Self {
        Self(Host::ALL.map(&mut url))
    }

    /// The base URL of a host; `None` if the operations of that host are off.
    pub fn of(&self, host: Host) -> Option<&BaseUrl> {
        self.0[host as usize].as_ref()
    }
}

/// A scheme, a host and a port to connect to. Comes from the configuration only, never from a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BaseUrl {
    /// Whether connections use TLS: `true` for `https://`.
    pub tls: bool,
    /// Host name or IP address; an IPv6 address without brackets.
    pub host: String,
    /// TCP port to connect to.
    pub port: u16,
}

impl BaseUrl {
    /// The value of the `Host` header.
    pub fn authority(&self) -> String {
        if self.own_port().is_none() { self.bracketed() } else { self.host_and_port() }
    }

    /// The port; `None` where it is the default of the scheme.
    pub fn own_port(&self) -> Option<u16> {
        let default_port = if self.tls { 443 } else { 80 };
        Some(self.port).filter(|port| *port != default_port)
    }

    /// `host:port`, also where the port is the default of the scheme.
    pub fn host_and_port(&self) -> String {
        format!("{}:{}", self.bracketed(), self.port)
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    /// Whether the host is this machine: `localhost` or a loopback address.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
    }

    /// Scheme and authority, as the configuration writes them.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

/// Data centre of the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// The one that the vendor documents.
    Default,
    /// bjapi.push.jiguang.cn: one host for everything, some paths with another prefix.
    Beijing,
}
