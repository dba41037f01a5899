//! The commands `man` and `completions`, made from the definition of the command line.

use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

use super::{GOOD, print};

/// Prints what a shell needs to complete the arguments.
pub(super) fn completions(program: &mut Command, shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, program, "jpush-gateway", &mut script);
    print(&String::from_utf8(script).expect("the command line is defined in UTF-8"));
    GOOD
}

/// Prints the manual page of a command, in the form of `man`. Wrong usage ends the process with 2.
pub(super) fn page(mut program: Command, path: &[String]) -> ExitCode {
    // Gives every command its whole name.
    program.build();
    let mut command = &program;
    for name in path {
        let found = command.find_subcommand(name);
        let Some(found) = found else {
            let message = format!("no command is called {:?}", path.join(" "));
            program.error(clap::error::ErrorKind::InvalidSubcommand, message).exit();
        };
        command = found;
    }
    let mut page = Vec::new();
    let source = format!("{} {}", program.get_name(), env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command.clone())
        .source(source)
        .render(&mut page)
        .expect("writing to a Vec cannot fail");
    print(&String::from_utf8(page).expect("the command line is defined in UTF-8"));
    GOOD
}
