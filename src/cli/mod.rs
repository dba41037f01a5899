//! The command line; each command has a file of its own.

mod check;
mod demo;
mod explain;
mod health;
mod manual;
mod sandbox;
mod schema;
mod serve;
mod token;
mod trace;
mod validate;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::app::{App, RunError};
use crate::body::{ImageType, UploadChannel};
use crate::causes::Causes;
use crate::config::{LogFormat, LogSettings};
use crate::telemetry::log::Log;
use crate::telemetry::log_writer::LAST_LINES;

/// An authenticating reverse proxy for the `JPush` (Jiguang) REST API.
///
/// Internal apps call the gateway with a token of their own; it puts in the right vendor credential, keeps the
/// shared call budgets, checks bodies before they cost a call, and measures all of it.
///
/// To see it work without an account: jpush-gateway demo
#[derive(Parser)]
#[command(name = "jpush-gateway", bin_name = "jpush-gateway", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway. SIGTERM, SIGINT and SIGQUIT stop it once requests in work are finished; SIGHUP reloads.
    Serve(ConfigFile),
    /// Validate a configuration: reports every fault in one run, one per line. Resolves secrets and names; makes no
    /// calls.
    Check(Check),
    /// Show what would happen to a call: tenant, credential, budgets and vendor URL, or the refusal.
    Explain(Explain),
    /// Run a vendor simulator and a gateway on this machine, and print calls to paste.
    Demo(Demo),
    /// Run the vendor simulator alone, to develop and test against.
    Sandbox(Sandbox),
    /// Create tokens for callers.
    #[command(subcommand)]
    Token(Token),
    /// Exit with 0 if a running gateway is ready: for container health checks.
    Health(Health),
    /// Run the gateway's rules for uploads on a local file, without sending anything.
    #[command(subcommand)]
    Validate(Validate),
    /// Find a push in access and audit logs and tell its story in order.
    ///
    /// Exits with 0 if something was found, with 1 if nothing was, and with 2 if a file could not be read.
    Trace(Trace),
    /// Print the JSON schema of the configuration, with which editors complete and check it.
    Schema,
    /// Print the completions of a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, of the program or of one of its commands.
    Man {
        /// The command, for instance `validate image`.
        command: Vec<String>,
    },
}

#[derive(Args)]
struct ConfigFile {
    /// The configuration (YAML).
    #[arg(short, long, value_name = "FILE", env = "JPUSH_GATEWAY_CONFIG", hide_env_values = true)]
    config: PathBuf,
}

#[derive(Args)]
struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Print the summary or the faults as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Explain {
    #[command(flatten)]
    file: ConfigFile,
    /// The call's method, for instance POST.
    method: String,
    /// The call's path, for instance /v3/push.
    path: String,
    /// The caller, by its name in the configuration.
    #[arg(long = "as", value_name = "CALLER")]
    caller: String,
    /// The tenant, as the caller would name it: a tenant's name, an app key, a dev key or group-KEY.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Demo {
    /// Address that the demo's gateway listens on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address of its admin pages.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
    /// Address that the vendor simulator listens on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9501")]
    sandbox: SocketAddr,
}

#[derive(Args)]
struct Sandbox {
    /// Address that the simulator listens on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9501")]
    listen: SocketAddr,
    /// A gateway configuration: its tenants and budgets are the simulator's accounts. Without it, the demo's.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Length of every window but those of a day, for quick tests.
    #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
    window: Option<Duration>,
    /// Counting of the vendor: fixed windows that start with a first call, or sliding windows.
    #[arg(long, value_enum, default_value = "fixed")]
    windows: Windows,
}

#[derive(Clone, Copy, ValueEnum)]
enum Windows {
    /// A window starts with the first call after the previous window ended.
    Fixed,
    /// Every call counts for one window's length.
    Sliding,
}

#[derive(Subcommand)]
enum Token {
    /// Print a fresh token for a caller (24 letters and digits) and its SHA-256 for the configuration.
    New,
}

#[derive(Args)]
struct Health {
    /// The admin listener of the gateway to ask.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
}

#[derive(Args)]
struct Trace {
    /// Access logs and audit logs, in any order.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    id: TracedId,
    /// Print the lines as they stand in the logs.
    #[arg(long)]
    json: bool,
}

/// The id to look for. What shares a request id, a message id or a cid with it belongs to the story.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct TracedId {
    /// The id of a request: `X-Request-Id` of its answer.
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// The vendor's id of a push.
    #[arg(long, value_name = "ID")]
    msg_id: Option<String>,
    /// The id by which the vendor recognizes a push that it gets twice.
    #[arg(long, value_name = "ID")]
    cid: Option<String>,
}

#[derive(Subcommand)]
enum Validate {
    /// Check a target list: its name, its size, UTF-8, and every line. Reads in pieces, so the size does not matter.
    Targets(ValidateTargets),
    /// Check a picture for a channel: format, dimensions and size in bytes.
    Image(ValidateImage),
}

#[derive(Args)]
struct ValidateTargets {
    /// The list: UTF-8, one alias or registration id a line.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A gateway configuration: its `files` rules. Without it, the defaults.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct ValidateImage {
    /// The picture: PNG or JPEG.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The channel whose rules apply.
    #[arg(long, value_parser = PossibleValuesParser::new(["oppo", "xiaomi"]).try_map(|name| UploadChannel::parse(&name).ok_or("not a channel")))]
    channel: UploadChannel,
    /// Use of the picture: 1 a big picture, 2 a large icon, 3 a small icon.
    #[arg(long, value_parser = PossibleValuesParser::new(["1", "2", "3"]).try_map(|kind| ImageType::parse(&kind).ok_or("not a type")))]
    image_type: ImageType,
    /// A gateway configuration: its `images` rules. Without it, the defaults.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Parses the arguments of the process and runs the command. Returns the exit code: 0 good, 1 refused or failed; wrong
/// usage ends the process with 2.
pub fn main() -> ExitCode {
    // clap exits with 2 on wrong usage, and with 0 after --help and --version.
    match Cli::parse().command {
        Command::Serve(file) => serve::run(&file.config),
        Command::Check(arguments) => check::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Sandbox(arguments) => sandbox::run(&arguments),
        Command::Token(Token::New) => token::run(),
        Command::Health(arguments) => health::run(arguments.admin),
        Command::Validate(Validate::Targets(arguments)) => validate::targets(&arguments),
        Command::Validate(Validate::Image(arguments)) => validate::image(&arguments),
        Command::Trace(arguments) => trace::run(&arguments),
        Command::Schema => schema::run(),
        Command::Completions { shell } => manual::completions(&mut Cli::command(), shell),
        Command::Man { command } => manual::page(Cli::command(), &command),
    }
}

/// Exit code of success.
const GOOD: ExitCode = ExitCode::SUCCESS;
/// Exit code of refused input and of a start that failed.
const BAD: u8 = 1;
/// Exit code of a search that could not be made, as `grep` has it.
const NOT_SEARCHED: u8 = 2;

/// Prints to stdout. Errors are ignored: a reader may close the pipe.
fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// A value as JSON for people and programs.
fn to_json(value: &impl Serialize) -> String {
    let mut json = serde_json::to_string_pretty(value).expect("numbers and strings always serialise");
    json.push('\n');
    json
}

/// Prints an error and its causes to stderr, and returns the exit code of a failure.
fn complain(error: &dyn std::error::Error) -> ExitCode {
    use std::io::Write;
    let causes = std::iter::successors(error.source(), |error| error.source());
    let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(BAD)
}

/// Starts a gateway and runs it until it has drained, with the process log on. A failed start is logged.
fn serve_with_log(
    settings: LogSettings,
    start: impl AsyncFnOnce(&Arc<Log>) -> Result<App, RunError>,
) -> ExitCode {
    let log = match Log::start(settings) {
        Ok(log) => Arc::new(log),
        Err(error) => return complain(&error),
    };
    let served = block_on(async {
        start(&log).await?.run().await;
        Ok(())
    });
    match served.unwrap_or_else(|error| Err(RunError::System(error))) {
        Ok(()) => GOOD,
        Err(error) if settings.format == LogFormat::Json => {
            tracing::error!(error = %Causes(&error), "the gateway could not run");
            ExitCode::from(BAD)
        }
        Err(error) => {
            tracing::error!("the gateway could not run");
            // Writes the buffered log lines before the error that `complain` prints.
            log.end(Instant::now() + LAST_LINES);
            complain(&error)
        }
    }
}

/// Runs a future on the main thread's runtime, which serves signals and admin pages. The workers have runtimes of their
/// own.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T, std::io::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(future);
    // Dropping the runtime would wait for blocking calls, such as the system's resolver.
    runtime.shutdown_background();
    Ok(outcome)
}
