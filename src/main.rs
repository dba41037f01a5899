//! The `jpush-gateway` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    jpush_gateway::cli::main()
}
