//! `serve`: run the gateway.

use std::path::Path;
use std::process::ExitCode;

use super::{BAD, GOOD, block_on, complain, start_log};
use crate::app::{App, RunError};
use crate::reload::Source;

pub(super) fn run(path: &Path) -> ExitCode {
    start_log();
    let source = match Source::open(path) {
        Ok(source) => source,
        Err(faults) => return complain(&faults),
    };
    let served = block_on(async { App::start(source, std::io::stdout())?.run().await });
    match served.unwrap_or_else(|error| Err(RunError::System(error))) {
        Ok(()) => GOOD,
        Err(error) => {
            tracing::error!("the gateway could not run");
            complain(&error);
            ExitCode::from(BAD)
        }
    }
}
