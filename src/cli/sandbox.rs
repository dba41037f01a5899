//! `sandbox`: the vendor simulator alone.

use std::process::ExitCode;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{GOOD, Sandbox as Arguments, Windows, block_on, complain, print};
use crate::config;
use crate::sandbox::{self, Sandbox, Settings};

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let config = match &arguments.config {
        Some(path) => config::load(path),
        None => super::demo::config(),
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
        let listener = TcpListener::bind(arguments.listen).await?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        print(&format!("sandbox listening on http://{}\n", listener.local_addr()?));
        sandbox.serve(listener, stop).await;
        Ok::<_, std::io::Error>(())
    });
    match served.unwrap_or_else(Err) {
        Ok(()) => GOOD,
        Err(error) => complain(&error),
    }
}
