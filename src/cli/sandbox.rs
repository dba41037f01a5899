//! The command `sandbox`: runs the vendor simulator alone.

use std::process::ExitCode;

use tokio::net::TcpListener;

use super::{GOOD, Sandbox as Arguments, Windows, block_on, complain, print};
use crate::app::RunError;
use crate::config;
use crate::sandbox::{self, Sandbox, Settings};
use crate::server::{self, Neighbours};
use crate::signals::Signals;

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let config = match &arguments.config {
        Some(path) => config::load(path),
        None => super::demo::built_in(),
    };
    let tenants = match config {
        Ok(config) => config.tenants,
        Err(faults) => return complain(&faults),
    };
    let windows = match arguments.windows {
        Windows::Fixed => sandbox::Windows::Fixed,
        Windows::Sliding => sandbox::Windows::Sliding,
    };
    let sandbox = Sandbox::new(Settings::from_config(&tenants, arguments.window, windows));
    let served = block_on(async {
        let listener = server::listen(arguments.listen, Neighbours::None)?;
        let listener = TcpListener::from_std(listener)?;
        let mut signals = Signals::new()?;
        let stop = async move {
            tokio::select! {
                () = signals.stop.signal() => {}
                // A sandbox has nothing to reload; SIGHUP means that its terminal was closed.
                _ = signals.hangup.recv() => {}
            }
        };
        print(&format!("sandbox listening on http://{}\n", listener.local_addr()?));
        sandbox.serve(listener, stop).await;
        Ok::<_, RunError>(())
    });
    match served.unwrap_or_else(|error| Err(RunError::System(error))) {
        Ok(()) => GOOD,
        Err(error) => complain(&error),
    }
}
