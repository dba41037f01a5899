//! `serve`: run the gateway.

use std::path::Path;
use std::process::ExitCode;

use super::{BAD, GOOD, block_on, complain, start_log};
use crate::app::{App, RunError};
use crate::config;

pub(super) fn run(path: &Path) -> ExitCode {
    start_log();
    let config = match config::load(path) {
        Ok(config) => config,
        Err(faults) => return complain(&faults),
    };
    let served = block_on(async { App::start(&config, std::io::stdout())?.run().await });
    match served.unwrap_or_else(|error| Err(RunError::System(error))) {
        Ok(()) => GOOD,
        Err(error) => {
            tracing::error!("the gateway could not run");
            complain(&error);
            ExitCode::from(BAD)
        }
    }
}
