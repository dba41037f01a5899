//! The command `schema`: the JSON schema of the configuration.

use std::process::ExitCode;

use super::{GOOD, print};

/// The schema. It says what can be said without knowing names, files and the environment; `check` knows the rest.
const SCHEMA: &str = include_str!("../../config/schema.json");

pub(super) fn run() -> ExitCode {
    print(SCHEMA);
    GOOD
}
