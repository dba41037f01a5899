//! Calls with a key of their caller, kept beside the state file, so that a key outlives the process.
//!
//! Two lines for each call are added to `PATH.keys`: before it is sent, and at its end. A long file becomes `PATH.keys.old`
//! and a new one is begun, so that both together are bounded and the oldest keys are forgotten. A call without its second
//! line may have been delivered: it is sent again only with its cid.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::causes::Causes;
use crate::config::{KEYS_SUFFIX, OLD_SUFFIX, with_suffix};
use crate::lock::lock;
use crate::stored_call::{ClaimEnd, KEY_LIFE, StoredCall};

/// The length at which a file becomes the old one, in bytes: some 200,000 calls.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The keys of former processes, and the file for those of this one.
pub struct KeyFile {
    path: PathBuf,
    bytes_max: u64,
    state: Mutex<KeyFileState>,
}

#[derive(Default)]
struct KeyFileState {
    /// The calls of former processes that nobody has asked for since.
    former: HashMap<String, FormerCall>,
    file: Option<File>,
    bytes: u64,
    failing: bool,
}

/// A call of a former process.
struct FormerCall {
    call: String,
    /// The cid with which it can be sent again (empty: its own).
    cid: Option<String>,
    /// The time since which it may have been delivered.
    since: SystemTime,
    /// `None`: it did not end.
    end: Option<FormerEnd>,
}

enum FormerEnd {
    Answered(Vec<u8>),
    Lost,
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
enum KeyLine {
    /// The call is about to be sent.
    Sent { key: String, call: String, cid: Option<String>, at_millis: u64 },
    /// It had no effect.
    Nothing { key: String },
    /// It may have been delivered, and its cid makes it safe to send it again.
    Open { key: String },
    /// It was answered; the answer is in Base64.
    Answered { key: String, answer: String },
    /// It may have been delivered, and must not be sent again.
    Lost { key: String },
}

/// The claim to make a call under a key.
pub struct FileClaim {
    keys: Arc<KeyFile>,
    key: String,
    call: String,
}

impl KeyFile {
    pub(super) fn beside(state_file: &Path) -> Arc<Self> {
        let path = with_suffix(state_file, KEYS_SUFFIX);
        Arc::new(Self { path, bytes_max: FILE_BYTES_MAX, state: Mutex::default() })
    }

    /// Reads the keys of former processes, and opens the file for those of this one.
    pub(super) fn take_up(&self) {
        let mut state = lock(&self.state);
        let now = SystemTime::now();
        for path in [self.old_path(), self.path.clone()] {
            match read(&path) {
                Ok(text) => text.lines().for_each(|line| state.read_line(line, now)),
                Err(error) => {
                    let path = path.display();
                    tracing::error!(%path, error = %Causes(&error), "keys of calls cannot be read: they are forgotten");
                }
            }
        }
        if let Err(error) = self.open(&mut state) {
            state.fails(&self.path, &error);
        }
    }

    fn old_path(&self) -> PathBuf {
        with_suffix(&self.path, OLD_SUFFIX)
    }

    fn open(&self, state: &mut KeyFileState) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
        let bytes = file.metadata()?.len();
        if bytes > 0 {
            // The last line may have been cut.
            file.write_all(b"\n")?;
        }
        (state.bytes, state.file) = (bytes, Some(file));
        Ok(())
    }

    /// Claims a call: `key` is its caller's, `call` identifies all of it. How a former call ended is told once, and one
    /// that is open until it is sent again: from then on the key is in the memory of this process.
    pub fn claim(self: &Arc<Self>, key: &str, call: &str) -> StoredCall<FileClaim> {
        let claim = || FileClaim { keys: Arc::clone(self), key: key.to_owned(), call: call.to_owned() };
        let mut state = lock(&self.state);
        match state.former.get(key) {
            None => return StoredCall::First(claim()),
            Some(former) if former.call != call => return StoredCall::Conflict,
            // A claim that is dropped leaves it to the next one.
            Some(FormerCall { end: None, cid: Some(cid), since, .. }) => {
                return StoredCall::Open(claim(), cid.clone(), since.elapsed().unwrap_or_default());
            }
            Some(_) => {}
        }
        match state.former.remove(key).and_then(|former| former.end) {
            Some(FormerEnd::Answered(answer)) => StoredCall::Answered(answer),
            Some(FormerEnd::Lost) | None => StoredCall::Lost,
        }
    }

    /// Adds a line about a key, after which what a former process said of it does not count. If that fails, the key is in
    /// the memory of this process alone, which the log says once.
    fn add(&self, key: &str, line: &KeyLine) {
        let mut text = serde_json::to_vec(line).expect("texts and numbers");
        text.push(b'\n');
        let mut state = lock(&self.state);
        state.former.remove(key);
        match self.write(&mut state, &text) {
            Ok(()) if state.failing => {
                state.failing = false;
                tracing::info!(path = %self.path.display(), "keys of calls are written again");
            }
            Ok(()) => {}
            Err(error) => state.fails(&self.path, &error),
        }
    }

    fn write(&self, state: &mut KeyFileState, text: &[u8]) -> io::Result<()> {
        if state.bytes >= self.bytes_max {
            fs::rename(&self.path, self.old_path())?;
            state.file = None;
        }
        if state.file.is_none() {
            self.open(state)?;
        }
        let Some(file) = &mut state.file else { return Ok(()) };
        file.write_all(text)?;
        state.bytes += text.len() as u64;
        Ok(())
    }
}

impl KeyFileState {
    fn fails(&mut self, path: &Path, error: &io::Error) {
        if !self.failing {
            self.failing = true;
            let path = path.display();
            tracing::error!(%path, error = %Causes(error), "keys of calls cannot be written: they are lost at a restart");
        }
    }

    /// Applies one line; one that is none was cut by the end of its process.
    fn read_line(&mut self, line: &str, now: SystemTime) {
        match serde_json::from_str(line) {
            Ok(KeyLine::Sent { key, call, cid, at_millis }) => {
                let at = SystemTime::UNIX_EPOCH + Duration::from_millis(at_millis);
                // It may have been delivered since the first time that it was sent.
                let since = self.former.get(&key).map_or(at, |known| known.since);
                if now.duration_since(since).is_ok_and(|age| age > KEY_LIFE) {
                    self.former.remove(&key);
                } else {
                    self.former.insert(key, FormerCall { call, cid, since, end: None });
                }
            }
            Ok(KeyLine::Nothing { key }) => drop(self.former.remove(&key)),
            Ok(KeyLine::Open { .. }) | Err(_) => {}
            Ok(KeyLine::Answered { key, answer }) => {
                let end = STANDARD.decode(answer).map_or(FormerEnd::Lost, FormerEnd::Answered);
                self.end(&key, end);
            }
            Ok(KeyLine::Lost { key }) => self.end(&key, FormerEnd::Lost),
        }
    }

    fn end(&mut self, key: &str, end: FormerEnd) {
        if let Some(former) = self.former.get_mut(key) {
            former.end = Some(end);
        }
    }
}

/// The text of a file, or none if there is no file.
fn read(path: &Path) -> io::Result<String> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(2 * FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl FileClaim {
    /// Records that the call is about to be sent, with this cid: empty for its own, `None` without one.
    pub fn sent(&self, cid: Option<&str>) {
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let line = KeyLine::Sent {
            key: self.key.clone(),
            call: self.call.clone(),
            cid: cid.map(str::to_owned),
            at_millis: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
        };
        self.keys.add(&self.key, &line);
    }

    /// Records the end of the call.
    pub fn end(self, end: ClaimEnd) {
        let key = self.key.clone();
        let line = match end {
            ClaimEnd::Nothing => KeyLine::Nothing { key },
            ClaimEnd::Open => KeyLine::Open { key },
            ClaimEnd::Answered(answer) => KeyLine::Answered { key, answer: STANDARD.encode(answer) },
            ClaimEnd::Lost => KeyLine::Lost { key },
        };
        self.keys.add(&self.key, &line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("jpush-gateway-keys-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a folder");
        path
    }

    /// The keys of a file of at most `bytes_max` bytes in this folder, as a process that starts has them.
    fn process(folder: &Path, bytes_max: u64) -> Arc<KeyFile> {
        let keys = KeyFile { path: folder.join("state.keys"), bytes_max, state: Mutex::default() };
        keys.take_up();
        Arc::new(keys)
    }

    fn answer(keys: &Arc<KeyFile>, key: &str) {
        let StoredCall::First(claim) = keys.claim(key, "call") else { panic!("{key} is known") };
        claim.sent(None);
        claim.end(ClaimEnd::answered(key.into()));
    }

    #[test]
    fn two_files_are_kept_and_the_oldest_keys_forgotten() {
        let folder = folder("two-files");
        let keys = process(&folder, 1000);
        (0..100).for_each(|number| answer(&keys, &format!("key-{number}")));
        let length = |name: &str| fs::metadata(folder.join(name)).expect("a file").len();
        assert!(length("state.keys") <= 1200 && length("state.keys.old") <= 1200);
        let next = process(&folder, 1000);
        assert!(matches!(next.claim("key-0", "call"), StoredCall::First(_)));
        for number in 95..100 {
            let key = format!("key-{number}");
            assert!(matches!(next.claim(&key, "another"), StoredCall::Conflict), "{key}");
            assert!(
                matches!(next.claim(&key, "call"), StoredCall::Answered(text) if text == key.as_bytes()),
                "{key}"
            );
        }
    }

    #[test]
    fn a_call_is_open_since_it_was_first_sent_and_for_half_a_day() {
        let folder = folder("open");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis();
        let sent = |key: &str, hours: u128| {
            let at = now - hours * 3_600_000;
            format!(
                "{{\"is\":\"sent\",\"key\":\"{key}\",\"call\":\"call\",\"cid\":\"\",\"at_millis\":{at}}}\n"
            )
        };
        let open = "{\"is\":\"open\",\"key\":\"again\"}\n";
        let lines = [sent("again", 10), open.to_owned(), sent("again", 1), sent("old", 13)].concat();
        fs::write(folder.join("state.keys"), lines).expect("written");
        let keys = process(&folder, 1000);
        for _ in 0..2 {
            // Dropped before it was sent, as where no time is left: the next one finds the same.
            let StoredCall::Open(_, _, ago) = keys.claim("again", "call") else { panic!("it is open") };
            assert_eq!(ago.as_secs() / 3600, 10);
        }
        let StoredCall::Open(claim, ..) = keys.claim("again", "call") else { panic!("it is open") };
        claim.sent(Some(""));
        assert!(
            matches!(keys.claim("again", "call"), StoredCall::First(_)),
            "in this process's memory by now"
        );
        assert!(matches!(keys.claim("old", "call"), StoredCall::First(_)));
    }
}
