//! Reads `listeners` and `admin`: the addresses that the gateway listens on.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};

use super::digests;
use super::reader::{ConfigValue, Section};
use super::sources::Outside;
use super::values::{Admin, CertificateFiles, Listener, ListenerTls};

/// Reads both sections. Two listeners at one address are a fault: the operating system would spread connections over
/// both.
pub(super) fn read(file: &mut Section<'_>, outside: &Outside<'_>) -> (Option<Vec<Listener>>, Admin) {
    let mut taken = HashSet::new();
    let items = file.required("listeners").map(|value| value.items());
    let listeners =
        items.map(|items| items.iter().filter_map(|item| read_one(item, outside, &mut taken)).collect());
    (listeners, read_admin(file, &mut taken))
}

fn read_one(
    value: &ConfigValue<'_>,
    outside: &Outside<'_>,
    taken: &mut HashSet<SocketAddr>,
) -> Option<Listener> {
    let mut section = value.section();
    let address = section.required("address").and_then(|value| read_address(&value, taken));
    let tls = section.get("tls").map(|value| read_tls(&value, outside));
    let proxy_protocol = section.flag("proxy_protocol", false);
    // `Some(None)` means plain HTTP; `None` means that `tls` had a fault, so that this listener is dropped.
    Some(Listener { address: address?, proxy_protocol, tls: tls.map_or(Some(None), |tls| tls.map(Some))? })
}

fn read_tls(value: &ConfigValue<'_>, outside: &Outside<'_>) -> Option<ListenerTls> {
    let mut section = value.section();
    let http2 = section.flag("http2", false);
    let client_ca = section.get("client_ca").map(|value| outside.roots(&value));
    let items = section.required("certificates")?.items();
    let certificates = items.iter().filter_map(|item| read_certificate(item, outside)).collect();
    Some(ListenerTls { certificates, client_ca: client_ca.map_or(Some(None), |file| file.map(Some))?, http2 })
}

fn read_certificate(value: &ConfigValue<'_>, outside: &Outside<'_>) -> Option<CertificateFiles> {
    let mut section = value.section();
    let (certificate, private_key) = (section.required("certificate"), section.required("private_key"));
    outside.identity(certificate.as_ref(), private_key.as_ref())
}

fn read_admin(file: &mut Section<'_>, taken: &mut HashSet<SocketAddr>) -> Admin {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 9090));
    let mut section = file.section("admin");
    let operators = section.get("token").and_then(|value| {
        let digest = value.section().private().required("sha256")?;
        digests::read(&digest)
    });
    let Some(value) = section.get("address") else {
        if taken.contains(&default) {
            section.value().fault("its default address 127.0.0.1:9090 is a listener's; write another");
        }
        return Admin { address: default, token: operators };
    };
    let address = read_address(&value, taken).unwrap_or(default);
    if operators.is_none() && !address.ip().to_canonical().is_loopback() {
        value.fault("must be a loopback address such as 127.0.0.1:9090, or admin.token must be given");
    }
    Admin { address, token: operators }
}

/// Reads an address that no other listener has. Port 0 lets the operating system choose, so it may occur more than
/// once.
fn read_address(value: &ConfigValue<'_>, taken: &mut HashSet<SocketAddr>) -> Option<SocketAddr> {
    let Ok(address) = value.text()?.parse::<SocketAddr>() else {
        return value.refuse(format!(
            "expected an IP address with a port, such as 0.0.0.0:8080 or [::]:8080{}",
            value.not_this()
        ));
    };
    if address.port() != 0 && !taken.insert(address) {
        return value.refuse("another listener has this address");
    }
    Some(address)
}
