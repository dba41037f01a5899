//! `demo`: a vendor simulator and a gateway on this machine, and calls to paste.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::{complain, print, serve_with_log};
use crate::app::{App, RunError};
use crate::config::{self, Config, Faults};
use crate::reload::Source;
use crate::sandbox::{Sandbox, Settings, Windows};
use crate::telemetry::log::Log;

/// The configuration of the demo, and of a sandbox without one.
const CONFIG: &str = include_str!("../../config/demo.yaml");
/// The token of its caller.
const TOKEN: &str = "demoTokenForLocalUse2026";
/// Where the simulator listens.
const SANDBOX: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9501);

pub(super) fn config() -> Result<Config, Faults> {
    config::parse(CONFIG, Path::new("."), &config::System)
}

pub(super) fn run(listen: SocketAddr) -> ExitCode {
    let mut config = match config() {
        Ok(config) => config,
        Err(faults) => return complain(&faults),
    };
    for listener in &mut config.listeners {
        listener.address = listen;
    }
    let settings = config.log;
    serve_with_log(settings, async |log| start(config, listen, log).await)
}

async fn start(config: Config, listen: SocketAddr, log: &Arc<Log>) -> Result<App, RunError> {
    let vendor = TcpListener::bind(SANDBOX).await?;
    let settings = Settings::from_config(&config.tenants, None, Windows::Fixed);
    tokio::spawn(Sandbox::new(settings).serve(vendor, std::future::pending()));
    let welcome = welcome(&config, listen);
    let app = App::start(Source::built_in(config), log, std::io::stdout())?;
    print(&welcome);
    Ok(app)
}

fn welcome(config: &Config, listen: SocketAddr) -> String {
    let user = format!("{}:{TOKEN}", config.tenants[0].app.key.as_str());
    let admin = config.admin.address;
    format!(
        r#"
The gateway is on http://{listen}, the vendor simulator on http://{SANDBOX}. Paste these into another terminal.

A push:
  curl -i http://{listen}/v3/push -u {user} -d '{{"platform":"all","audience":{{"alias":["anna"]}},"notification":{{"alert":"Hello"}}}}'

A picture (made here, 984x369 pixels):
  echo '{PNG}' | base64 -d >big.png
  curl -i http://{listen}/v3/images/byfiles -u {user} -F image_type=1 -F oppo_file=@big.png

A target list:
  printf 'anna\nboris\n' >aliases.txt
  curl -i http://{listen}/v3/files/alias -u {user} -F filename=@aliases.txt -F ttl=24

What the vendor saw, and what the gateway measured:
  curl http://{SANDBOX}/_sandbox/journal
  curl http://{admin}/status
  curl http://{admin}/metrics

Ctrl-C stops both. Access lines follow.

"#
    )
}

/// A PNG of 984x369 black pixels, so that the picture call works without any file at hand.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAA9gAAAFxAQAAAACg3T3TAAAAQ0lEQVR42u3BMQEAAADCoPVPbQo/oAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAeBmyvAABBikiogAAAABJRU5ErkJggg==";
