//! Remembers what the files of a configuration looked like, to find out later whether they have changed.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA256};
use zeroize::Zeroizing;

use crate::config::{self, SecretSources, System};

/// The most bytes of a file that enter its digest. No longer file is ever read.
const LOOK_BYTES_MAX: u64 = config::BYTES_MAX as u64;

/// The time after a change during which a file's dates are not trusted: another change could leave them as they are.
const SETTLING: Duration = Duration::from_secs(5);

/// The files and patterns of a configuration at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Watched {
    files: BTreeMap<PathBuf, Look>,
    /// The files that each pattern matched; `None` if that could not be found out.
    patterns: BTreeMap<String, Option<Vec<PathBuf>>>,
}

impl Watched {
    /// Remembers a file as it is now.
    pub(super) fn note(&mut self, path: &Path) {
        self.files.insert(path.to_owned(), Look::at(path, None));
    }

    /// Remembers the files that a pattern matches.
    pub(super) fn note_pattern(&mut self, pattern: &str, matched: Option<Vec<PathBuf>>) {
        self.patterns.insert(pattern.to_owned(), matched);
    }

    /// The same files and patterns as they are now. Files whose dates did not change are not read.
    pub(super) fn again(&self) -> Self {
        let files = self.files.iter().map(|(path, look)| (path.clone(), Look::at(path, Some(look))));
        let matched = |pattern: &String| (pattern.clone(), System.matching(pattern).ok());
        Self { files: files.collect(), patterns: self.patterns.keys().map(matched).collect() }
    }

    /// Whether a file that `self` knows has the same content there.
    pub(super) fn has_same(&self, path: &Path, other: &Self) -> bool {
        self.files.contains_key(path) && self.files.get(path) == other.files.get(path)
    }

    /// Whether a file has another content there, or only one of the two knows it.
    pub(super) fn differs(&self, path: &Path, other: &Self) -> bool {
        self.files.get(path) != other.files.get(path)
    }

    /// One file with this digest.
    #[cfg(test)]
    pub(super) fn of_one(path: &Path, digest: [u8; 32]) -> Self {
        let look = Look { digest: Some(digest), stamp: None };
        Self { files: BTreeMap::from([(path.to_owned(), look)]), patterns: BTreeMap::new() }
    }

    /// Takes over what `other` knows.
    pub(super) fn extend(&mut self, other: Self) {
        self.files.extend(other.files);
        self.patterns.extend(other.patterns);
    }
}

/// A file's content at one time. Two are equal if the contents are.
#[derive(Clone, Debug)]
struct Look {
    /// SHA-256; `None` if the file cannot be read.
    digest: Option<[u8; 32]>,
    /// What tells without reading that the content is still the same; `None` if it was too young to tell.
    stamp: Option<Stamp>,
}

impl PartialEq for Look {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Look {}

impl Look {
    /// Looks at a file, through links, so that a link that leads elsewhere counts as changed.
    fn at(path: &Path, before: Option<&Self>) -> Self {
        let now = SystemTime::now();
        // Asked before opening, because opening a pipe blocks until it has a writer. And asked before reading, so that
        // the stamp is never newer than the content.
        let Some(metadata) = std::fs::metadata(path).ok().filter(Metadata::is_file) else {
            return Self { digest: None, stamp: None };
        };
        let stamp = Stamp::of(&metadata);
        match before {
            Some(before) if before.stamp.as_ref() == Some(&stamp) => before.clone(),
            _ => Self { digest: digest(path), stamp: stamp.if_settled(now) },
        }
    }
}

/// What changes with the content of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    /// The time of the last change of content, name or rights. Programs cannot set it.
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The stamp, unless the file may change once more within the resolution of its dates.
    fn if_settled(self, now: SystemTime) -> Option<Self> {
        let seconds = u64::try_from(self.changed.0).ok()?;
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        now.duration_since(changed).is_ok_and(|age| age > SETTLING).then_some(self)
    }
}

fn digest(path: &Path) -> Option<[u8; 32]> {
    let mut file = File::open(path).ok()?.take(LOOK_BYTES_MAX);
    let (mut context, mut buffer) = (Context::new(&SHA256), Zeroizing::new(vec![0; 16 << 10]));
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return context.finish().as_ref().try_into().ok(),
            read => context.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn changes_are_found_by_content_and_patterns_by_what_they_match() {
        let folder = std::env::temp_dir().join(format!("jpush-gateway-watch-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let (one, two) = (folder.join("one.yaml"), folder.join("two.yaml"));
        fs::write(&one, "a").expect("a file");
        let pattern = folder.join("*.yaml").to_str().expect("UTF-8").to_owned();
        let mut first = Watched::default();
        first.note(&one);
        first.note(&two);
        first.note_pattern(&pattern, System.matching(&pattern).ok());
        assert_eq!(first, first.again());
        fs::write(&one, "b").expect("a file");
        let second = first.again();
        assert!(second != first && second.differs(&one, &first) && second.has_same(&two, &first));
        fs::write(&one, "a").expect("a file");
        assert_eq!(first, second.again());
        fs::write(folder.join("three.yaml"), "").expect("a file");
        assert_ne!(first, first.again());
        fs::remove_dir_all(&folder).expect("the folder goes");
    }

    #[test]
    fn a_file_is_read_again_unless_its_dates_are_old_and_the_same() {
        let path = std::env::temp_dir().join(format!("jpush-gateway-stamp-{}", std::process::id()));
        fs::write(&path, "a").expect("a file");
        let stamp = Stamp::of(&fs::metadata(&path).expect("a file"));
        let at = |seconds: i64| {
            let seconds = u64::try_from(stamp.changed.0 + seconds).expect("after 1970");
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        assert_eq!(stamp.clone().if_settled(at(1)), None);
        assert_eq!(stamp.clone().if_settled(at(-60)), None, "the clock of a file server is ahead");
        assert_eq!(stamp.clone().if_settled(at(60)), Some(stamp.clone()));
        let before = Look { digest: Some([7; 32]), stamp: Some(stamp.clone()) };
        assert_eq!(Look::at(&path, Some(&before)).digest, Some([7; 32]), "not read");
        let other = Look { digest: Some([7; 32]), stamp: Some(Stamp { inode: 0, ..stamp }) };
        assert_ne!(Look::at(&path, Some(&other)).digest, Some([7; 32]));
        fs::remove_file(&path).expect("the file goes");
    }
}
