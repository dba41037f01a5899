//! The command `serve`: runs the gateway.

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
    serve_with_log(settings, async |log| App::start(source, inherited?, log, std::io::stdout()))
}
