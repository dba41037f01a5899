//! The files that the gateway writes. Each must be a file of its own: one use would destroy the other.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::reader::ConfigValue;
use super::sources::{FileIdentity, Outside, folder_of};

/// What is appended to the state file's name for the keys of calls.
pub const KEYS_SUFFIX: &str = ".keys";
/// What is appended to the name of the file of keys, once it has become long.
pub const OLD_SUFFIX: &str = ".old";
/// What is appended to the state file's name for the process that waits for it.
pub const NEXT_SUFFIX: &str = ".next";

/// A path that something is appended to.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Checks that a file could be created at this path, without creating it: its folder is there, and this process may write
/// to it.
pub fn may_create(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(folder_of(path), Access::WRITE_OK | Access::EXEC_OK)?)
}

/// A file that the gateway writes, and the key that names it.
pub(super) struct OutputFile<'n> {
    key: ConfigValue<'n>,
    paths: Vec<PathBuf>,
}

impl<'n> OutputFile<'n> {
    pub(super) fn of_audit(key: ConfigValue<'n>, path: &Path) -> Self {
        Self { key, paths: vec![path.to_owned()] }
    }

    /// The state file, and those beside it.
    pub(super) fn of_state(key: ConfigValue<'n>, path: &Path) -> Self {
        let keys = with_suffix(path, KEYS_SUFFIX);
        let beside = [with_suffix(&keys, OLD_SUFFIX), keys, with_suffix(path, NEXT_SUFFIX)];
        Self { key, paths: std::iter::once(path.to_owned()).chain(beside).collect() }
    }
}

/// Refuses an output that another one is as well, or that the configuration is read from.
pub(super) fn check(outputs: &[OutputFile<'_>], outside: &Outside<'_>) {
    if outputs.is_empty() {
        return;
    }
    let is_read = |file| (file, "the configuration is read from it".to_owned());
    let mut known: Vec<(FileIdentity, String)> = outside.read_files().into_iter().map(is_read).collect();
    for OutputFile { key, paths } in outputs {
        let own: Vec<_> = paths.iter().map(|path| FileIdentity::of(path)).collect();
        if let Some((_, use_of_it)) = known.iter().find(|(file, _)| own.contains(file)) {
            key.fault(format!("must name a file of its own, which nothing else uses; {use_of_it}"));
        }
        known.extend(own.into_iter().map(|file| (file, format!("{} is the same file", key.path()))));
    }
}
