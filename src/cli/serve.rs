//! The command `serve`: runs the gateway.

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use super::{complain, serve_with_log};
use crate::app::App;
use crate::reload::ConfigSource;
use crate::server::Inherited;

pub(super) fn run(path: &Path) -> ExitCode {
    // Changes the environment, so it must run before other threads start.
    let inherited = Inherited::from_environment();
    let source = match ConfigSource::open(path) {
        Ok(source) => source,
        Err(faults) => return complain(&faults),
    };
    let settings = source.config.log;
    serve_with_log(settings, async |log| {
        let app = App::start(source, inherited?, log, std::io::stdout())?;
        if std::io::stderr().is_terminal() {
            let _ = writeln!(std::io::stderr(), "the gateway's page: {}", page(app.admin_address()?));
        }
        Ok(app)
    })
}

/// Where a browser on this machine finds the admin pages.
fn page(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        let loopback = match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    format!("http://{address}/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_where_a_browser_can_go() {
        let at = |address: &str| page(address.parse().expect("an address"));
        assert_eq!(at("127.0.0.1:9090"), "http://127.0.0.1:9090/");
        assert_eq!(at("0.0.0.0:9090"), "http://127.0.0.1:9090/");
        assert_eq!(at("[::]:9090"), "http://[::1]:9090/");
    }
}
