//! The command `demo`: runs a vendor simulator and a gateway on this machine, and prints calls to paste.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::{Demo, complain, print, serve_with_log};
use crate::app::{App, RunError};
use crate::config::{self, Config, ConfigFaults};
use crate::reload::ConfigSource;
use crate::sandbox::{Sandbox, Settings, Windows};
use crate::server::{self, Inherited, Neighbours};
use crate::telemetry::log::Log;

/// The configuration of the demo, and of a sandbox without one.
const CONFIG: &str = include_str!("../../config/demo.yaml");
/// Token of the demo's only caller.
const TOKEN: &str = "demoTokenForLocalUse2026";
/// The demo's configuration, unchanged.
pub(super) fn built_in() -> Result<Config, ConfigFaults> {
    config::parse(CONFIG, Path::new("."), &config::System)
}

/// The demo's configuration with these addresses in it.
fn config(listen: SocketAddr, admin: SocketAddr, sandbox: SocketAddr) -> Result<Config, ConfigFaults> {
    let text = CONFIG
        .replace("- address: 127.0.0.1:8080", &format!("- address: \"{listen}\""))
        .replace("admin:\n  address: 127.0.0.1:9090", &format!("admin:\n  address: \"{admin}\""))
        .replace("http://127.0.0.1:9501", &format!("http://{sandbox}"));
    config::parse(&text, Path::new("."), &config::System)
}

pub(super) fn run(arguments: &Demo) -> ExitCode {
    let vendor = match server::listen(arguments.sandbox, Neighbours::None) {
        Ok(vendor) => vendor,
        Err(error) => return complain(&error),
    };
    // Port 0 has been replaced by the port that the system chose.
    let sandbox = vendor.local_addr().unwrap_or(arguments.sandbox);
    let config = match config(arguments.listen, arguments.admin, sandbox) {
        Ok(config) => config,
        Err(faults) => return complain(&faults),
    };
    let settings = config.log;
    serve_with_log(settings, async |log| start(config, (vendor, sandbox), log))
}

fn start(
    config: Config,
    (vendor, sandbox): (StdListener, SocketAddr),
    log: &Arc<Log>,
) -> Result<App, RunError> {
    let user = format!("{}:{TOKEN}", config.tenants[0].app.key.as_str());
    let settings = Settings::from_config(&config.tenants, None, Windows::Fixed);
    let vendor = TcpListener::from_std(vendor)?;
    tokio::spawn(Sandbox::new(settings).serve(vendor, std::future::pending()));
    let app = App::start(ConfigSource::built_in(config), Inherited::default(), log, std::io::stdout())?;
    print(&welcome(&user, app.addresses()[0], app.admin_address()?, sandbox));
    Ok(app)
}

fn welcome(user: &str, listen: SocketAddr, admin: SocketAddr, sandbox: SocketAddr) -> String {
    format!(
        r#"
The gateway is on http://{listen}, the vendor simulator on http://{sandbox}. Paste these into another terminal.

A push:
  curl -i http://{listen}/v3/push -u {user} -d '{{"platform":"all","audience":{{"alias":["anna"]}},"notification":{{"alert":"Hello"}}}}'

A picture (made here, 984x369 pixels):
  echo '{PNG}' | base64 -d >big.png
  curl -i http://{listen}/v3/images/byfiles -u {user} -F image_type=1 -F oppo_file=@big.png

A target list:
  printf 'anna\nboris\n' >aliases.txt
  curl -i http://{listen}/v3/files/alias -u {user} -F filename=@aliases.txt -F ttl=24

What the vendor saw, and what the gateway measured:
  curl http://{sandbox}/_sandbox/journal
  curl http://{admin}/status
  curl http://{admin}/metrics

Ctrl-C stops both. Access lines follow.

"#
    )
}

/// A PNG of 984x369 black pixels, so that the picture call works without any file at hand.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAA9gAAAFxAQAAAACg3T3TAAAAQ0lEQVR42u3BMQEAAADCoPVPbQo/oAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAeBmyvAABBikiogAAAABJRU5ErkJggg==";
