//! The command `validate`: checks a local file by the gateway's rules for uploads.

use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use super::{BAD, GOOD, ValidateImage, ValidateTargets, complain, print};
use crate::body::{BodyFault, Rule, TargetScan, TargetSummary, check_name, check_picture};
use crate::config::{self, Config, ConfigFaults, Files, Images, Mode};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 256 * 1024;
/// Size in bytes above which a progress bar is shown.
const LARGE_BYTES: u64 = 64 << 20;

/// A file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read", path.display())]
struct UnreadableFile {
    path: PathBuf,
    source: io::Error,
}

/// Checks a target list as the gateway would check its upload.
pub(super) fn targets(arguments: &ValidateTargets) -> ExitCode {
    let files = match rules(arguments.config.as_deref(), |config| config.files) {
        Ok(files) => files,
        Err(faults) => return complain(&faults),
    };
    match scan(&arguments.file, &files) {
        Ok(summary) => judge_list(&arguments.file, &summary, &files).end(),
        Err(source) => complain(&UnreadableFile { path: arguments.file.clone(), source }),
    }
}

/// Checks a picture as the gateway would check its upload.
pub(super) fn image(arguments: &ValidateImage) -> ExitCode {
    let images = match rules(arguments.config.as_deref(), |config| config.images) {
        Ok(images) => images,
        Err(faults) => return complain(&faults),
    };
    match read_picture(&arguments.file, &images) {
        Ok(picture) => judge_picture(&picture, arguments, &images).end(),
        Err(source) => complain(&UnreadableFile { path: arguments.file.clone(), source }),
    }
}

/// The rules of a configuration, or the default rules without one.
fn rules<R: Default>(config: Option<&Path>, of: impl FnOnce(Config) -> R) -> Result<R, ConfigFaults> {
    config.map_or_else(|| Ok(R::default()), |path| config::load(path).map(of))
}

fn scan(path: &Path, files: &Files) -> io::Result<TargetSummary> {
    let mut file = File::open(path)?;
    let progress = progress(file.metadata()?.len());
    let mut scan = TargetScan::new(files);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => {
                scan.push(&piece[..length]);
                progress.inc(length as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    progress.finish_and_clear();
    Ok(scan.finish())
}

/// A progress bar on a terminal, for a large file; hidden otherwise.
fn progress(bytes: u64) -> ProgressBar {
    if bytes <= LARGE_BYTES || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {binary_bytes} of {binary_total_bytes}, {eta} left")
        .expect("the template is one that indicatif knows");
    ProgressBar::new(bytes).with_style(style)
}

fn judge_list(path: &Path, list: &TargetSummary, files: &Files) -> FileReport {
    let mut report = FileReport::default();
    for line in &list.bad {
        report
            .say(format_args!("line {}: {} bytes; up to {} pass", line.number, line.bytes, files.line_bytes));
    }
    let unnamed = list.bad_lines - list.bad.len() as u64;
    if unnamed > 0 {
        report.say(format_args!("and {unnamed} more lines that are too long"));
    }
    report.say(format_args!("lines:     {}", list.lines));
    report.say(format_args!("bad lines: {}", list.bad_lines));
    report.say(format_args!("bytes:     {} of {}", list.bytes, files.max_bytes));
    let name = path.file_name().map(OsStr::as_encoded_bytes).unwrap_or_default();
    if let Err(fault) = check_name(name) {
        report.fault(&fault, files.txt);
    }
    list.faults(files).iter().for_each(|fault| report.fault(fault, Mode::Enforce));
    report
}

/// The start of a picture, up to one byte over the limit, and the size of the file.
struct Picture {
    start: Vec<u8>,
    bytes: u64,
}

fn read_picture(path: &Path, images: &Images) -> io::Result<Picture> {
    let file = File::open(path)?;
    let whole = file.metadata()?.len();
    let mut start = Vec::new();
    // One byte over the limit shows that the picture is too large.
    file.take(images.max_bytes as u64 + 1).read_to_end(&mut start)?;
    let bytes = whole.max(start.len() as u64);
    Ok(Picture { start, bytes })
}

fn judge_picture(picture: &Picture, arguments: &ValidateImage, images: &Images) -> FileReport {
    let (mut report, bytes_max) = (FileReport::default(), images.max_bytes);
    report.say(format_args!("bytes:     {} of {bytes_max}", picture.bytes));
    if picture.start.len() > bytes_max {
        let what =
            format!("{} has {} bytes; up to {bytes_max} pass", arguments.channel.part(), picture.bytes);
        report.fault(&BodyFault::new(Rule::PictureSize, what), Mode::Enforce);
        return report;
    }
    match check_picture(&picture.start, arguments.channel, Some(arguments.image_type), images) {
        Ok(None) => {}
        Ok(Some(fault)) => report.fault(&fault, Mode::Report),
        Err(fault) => report.fault(&fault, Mode::Enforce),
    }
    report
}

/// The report on a file: its text, and whether the file would be refused.
#[derive(Default)]
struct FileReport {
    text: String,
    refused: bool,
}

impl FileReport {
    fn say(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("writing to a String cannot fail");
    }

    /// Adds a broken rule, which refuses the file or is only a warning.
    fn fault(&mut self, fault: &BodyFault, mode: Mode) {
        match mode {
            Mode::Enforce => {
                self.refused = true;
                self.say(format_args!("refused:   {fault}"));
            }
            Mode::Report => self.say(format_args!("warning:   {fault}")),
        }
    }

    fn end(mut self) -> ExitCode {
        self.say(format_args!("verdict:   {}", if self.refused { "refused" } else { "good" }));
        print(&self.text);
        if self.refused { ExitCode::from(BAD) } else { GOOD }
    }
}
