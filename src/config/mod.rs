//! The configuration: reads the YAML file into checked values, once, and reports every fault in one run.
//!
//! No other module sees YAML, an unresolved secret or a limit of zero. Inside, `document` parses the text into a `tree`,
//! `reader` reads typed values out of it and collects faults, and one module per section checks its values.

mod audit;
mod base_url;
mod budgets;
mod callers;
mod certificates;
mod digests;
mod document;
mod fault;
mod include;
mod key_path;
mod limits;
mod lines;
mod listeners;
mod log;
mod outputs;
mod parsed;
mod proxy;
mod reader;
mod secrets;
mod shared;
mod sources;
mod tenants;
#[cfg(test)]
mod tests;
mod tracing;
mod tree;
mod units;
mod urls;
mod values;
mod vendor;
mod words;

use std::fmt::{Display, Write};
use std::fs::File;
use std::io::Read;
use std::iter;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use zeroize::Zeroizing;

pub use base_url::{BaseUrl, BaseUrls, Region};
pub use document::BYTES_MAX;
pub use fault::{ConfigFault, ConfigFaults};
pub use log::{LogFormat, LogLevel, LogSettings};
pub use outputs::{KEYS_SUFFIX, NEXT_SUFFIX, OLD_SUFFIX, may_create, with_suffix};
pub use parsed::ParsedFiles;
pub use proxy::{Proxy, ProxyLogin};
pub use shared::{SharedBudgets, Shares, StoreServers};
pub use sources::{SECRET_FILE_BYTES_MAX, SecretSources, SourceError, System};
pub use tracing::Tracing;
pub use values::*;
pub use words::hint;

use fault::FaultReport;
use include::{ConfigFile, Sections};
use lines::{LineFinder, LineWork};
use outputs::OutputFile;
use parsed::FileParser;
use reader::Zero;
use sources::{Outside, folder_of};
use words::shown;

/// Upper bound of `workers`, in threads.
const WORKERS_MAX: u32 = 1024;

/// Loads a file and those that it includes: reads them, resolves their secrets from the environment and from files, and
/// checks everything. The error lists every fault, each with its file and its key path.
pub fn load(path: &Path) -> Result<Config, ConfigFaults> {
    load_with(path, &System)
}

/// Does the same as [`load`] with secrets, files and certificates from `sources`, so that tests need no environment.
pub fn load_with(path: &Path, sources: &dyn SecretSources) -> Result<Config, ConfigFaults> {
    load_after(path, sources, &ParsedFiles::default())
}

/// Does the same as [`load_with`], and gives the same result, without parsing a file whose bytes are `known`: those of
/// the configuration before.
pub fn load_after(
    path: &Path,
    sources: &dyn SecretSources,
    known: &ParsedFiles,
) -> Result<Config, ConfigFaults> {
    let text = read_file(path)?;
    read_all(Some(path), text, &Outside::new(folder_of(path), sources), known)
}

/// Parses and checks a text. Relative paths in it and in files that it includes are resolved against `base`, secrets by
/// `sources`.
pub fn parse(text: &str, base: &Path, sources: &dyn SecretSources) -> Result<Config, ConfigFaults> {
    read_all(None, Zeroizing::new(text.to_owned()), &Outside::new(base, sources), &ParsedFiles::default())
}

fn read_all(
    path: Option<&Path>,
    text: Zeroizing<String>,
    outside: &Outside<'_>,
    known: &ParsedFiles,
) -> Result<Config, ConfigFaults> {
    let (parser, report, work) = (FileParser::new(known), FaultReport::default(), LineWork::default());
    let name = path.map(|path| include::one_line(&include::tidy(path).to_string_lossy()));
    if let Some(path) = path {
        outside.note(path);
    }
    let file = ConfigFile::parse(name, text, &parser)?;
    let mut main = file.main(&report);
    let included = include::read(&mut main, path, outside, &parser);
    let files = || iter::once(&file).chain(&included.files);
    let lines: Vec<_> = files().map(|file| file.lines(&work)).collect();
    let config = read(&mut Sections::new(main, &included, &report), outside);
    if let Some(faults) = report.faults(&lines) {
        return Err(faults);
    }
    let warnings = report.warnings(&lines);
    let found = lines.into_iter().map(LineFinder::into_found);
    Ok(Config {
        digest: digest(files().map(ConfigFile::text)),
        warnings,
        parsed: parser.finish(files().map(ConfigFile::parsed).zip(found)),
        ..config.expect("a section that could not be read has a fault")
    })
}

/// SHA-256 of the texts one behind the other, as `cat gateway.yaml teams/*.yaml | sha256sum` prints it.
fn digest<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let mut context = Context::new(&SHA256);
    texts.for_each(|text| context.update(text.as_bytes()));
    let mut hex = String::with_capacity(64);
    for byte in context.finish().as_ref() {
        write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
    }
    hex
}

/// Reads every section before the first `?`, so that one run reports the faults of all sections.
fn read(sections: &mut Sections<'_>, outside: &Outside<'_>) -> Option<Config> {
    let file = &mut sections.main;
    let (listeners, admin) = listeners::read(file, outside);
    let workers = file.get("workers").and_then(|value| value.positive(WORKERS_MAX));
    let (vendor, defaults) = vendor::read(file, outside);
    let budgets = budgets::read(file, &budgets::free_tier());
    let mut outputs = Vec::new();
    let state_file = file.get("state_file").and_then(|value| {
        let path = outside.output_file(&value)?;
        outputs.push(OutputFile::of_state(value, &path));
        Some(path)
    });
    let guard = file.duration("guard", Zero::Allowed, Duration::from_secs(10));
    let shared_budgets = shared::read(file, outside);
    let tracing = tracing::read(file);
    let limits = limits::read(file);
    let drain = limits::read_drain(file, limits.deadline);
    let files = limits::read_files(file);
    let images = limits::read_images(file);
    let audit = audit::read(file, outside, &mut outputs);
    let log = log::read(file);
    let tenants = tenants::read(sections.named("tenants"), outside, &defaults, &budgets);
    let callers = sections.named("callers");
    let callers = callers::read(&callers, &tenants.names, tenants.tenants.as_deref().unwrap_or_default());
    outputs::check(&outputs, outside);
    let file = &sections.main;
    let asks_for_certificates =
        |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if let (Some(listeners), Some(callers)) = (&listeners, &callers)
        && callers.iter().any(|caller| !caller.certificates.is_empty())
        && !listeners.iter().any(asks_for_certificates)
    {
        file.value().warning("callers have certificates, and no listener has tls.client_ca to ask for them");
    }
    if vendor.response_timeout > limits.deadline {
        file.value()
            .warning("vendor.response_timeout is longer than limits.deadline, which ends a request first");
    }
    Some(Config {
        listeners: listeners?,
        admin,
        workers: workers.map(|workers| NonZeroUsize::try_from(workers).expect("1,024 fits usize")),
        vendor,
        guard,
        state_file,
        shared_budgets,
        tracing,
        limits,
        drain,
        files,
        images,
        audit,
        log,
        tenants: tenants.tenants?,
        callers: callers?,
        warnings: Vec::new(),
        digest: String::new(),
        parsed: ParsedFiles::default(),
    })
}

/// Reads a UTF-8 file of at most [`BYTES_MAX`] bytes. The text may hold secrets, so it is wiped on drop.
fn read_file(path: &Path) -> Result<Zeroizing<String>, ConfigFault> {
    let refuse = |problem: &dyn Display| {
        ConfigFault::of_file(format!("the configuration {} {problem}", shown(&path.to_string_lossy())))
    };
    let mut bytes = Zeroizing::new(Vec::new());
    // Reads one byte more than is allowed, to tell a file of exactly the limit from a longer one.
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| refuse(&SourceError::Io(error)))?;
    if bytes.len() > BYTES_MAX {
        return Err(document::too_long());
    }
    let text = String::from_utf8(std::mem::take(&mut *bytes))
        .map_err(|error| refuse(&SourceError::of_no_text(&Zeroizing::new(error.into_bytes()))))?;
    Ok(Zeroizing::new(text))
}
