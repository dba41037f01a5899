//! The command `trace`: finds a push in access and audit logs and tells its story in order.
//!
//! The files are read twice: once for the lines with the id that was asked for, and once for those that share a request
//! id, a message id or a cid with them. Lines are read one by one, and only so many are remembered, so that files of any
//! size need little memory.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::ExitCode;

use serde::Deserialize;

use super::{BAD, GOOD, NOT_SEARCHED, Trace, complain, print};

/// The longest line that is read, in bytes; the gateway's own are shorter.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// The most lines that are told.
const LINES_MAX: usize = 1000;

pub(super) fn run(arguments: &Trace) -> ExitCode {
    // A pipe could be read only once.
    for file in &arguments.files {
        if !std::fs::metadata(file).is_ok_and(|known| known.is_file()) {
            let error = io::Error::other("it is no file; unpack it or save the output of a command first");
            return not_searched(file, error);
        }
    }
    let mut search = Search::default();
    search.wanted.add(arguments);
    for pass in [Pass::First, Pass::Second] {
        for file in &arguments.files {
            if let Err(error) = search.read(file, pass) {
                return not_searched(file, error);
            }
        }
    }
    let Search { found, unreadable, left_out, .. } = search;
    let told = found.iter().map(|found| if arguments.json { &found.text } else { &found.told });
    print(&told.fold(String::new(), |all, line| all + line + "\n"));
    let note = |count: usize, what: &str| {
        if count > 0 {
            let _ = writeln!(io::stderr(), "{count} {what}");
        }
    };
    note(unreadable, "line(s) are no lines of an access or audit log and were passed over");
    note(left_out, "later line(s) belong to it too and are not shown");
    if found.is_empty() {
        let _ = writeln!(io::stderr(), "nothing with this id in {} file(s)", arguments.files.len());
        return ExitCode::from(BAD);
    }
    GOOD
}

fn not_searched(file: &Path, error: io::Error) -> ExitCode {
    complain(&UnreadableLog { file: file.display().to_string(), error });
    ExitCode::from(NOT_SEARCHED)
}

#[derive(Debug, thiserror::Error)]
#[error("{file} cannot be read")]
struct UnreadableLog {
    file: String,
    #[source]
    error: io::Error,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    First,
    Second,
}

/// The ids of the requests and pushes that are looked for.
#[derive(Default)]
struct Ids {
    requests: BTreeSet<String>,
    messages: BTreeSet<String>,
    cids: BTreeSet<String>,
}

impl Ids {
    fn add(&mut self, asked: &Trace) {
        self.requests.extend(asked.id.request_id.clone());
        self.messages.extend(asked.id.msg_id.clone());
        self.cids.extend(asked.id.cid.clone());
    }

    fn add_all_of(&mut self, line: &LogLine) {
        if self.requests.len() >= LINES_MAX {
            return;
        }
        self.requests.extend(line.request_id.clone());
        self.messages.extend(line.msg_id.clone());
        self.cids.extend(line.cid.clone());
    }

    fn has_one_of(&self, line: &LogLine) -> bool {
        let has =
            |ids: &BTreeSet<String>, id: &Option<String>| id.as_ref().is_some_and(|id| ids.contains(id));
        has(&self.requests, &line.request_id)
            || has(&self.messages, &line.msg_id)
            || has(&self.cids, &line.cid)
    }
}

#[derive(Default)]
struct Search {
    wanted: Ids,
    /// What the lines of the first pass have in common with others.
    related: Ids,
    /// The earliest of them.
    found: BTreeSet<Found>,
    unreadable: usize,
    left_out: usize,
}

/// A line that belongs to the push.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    /// RFC 3339 in UTC, so that the order of the texts is that of the times.
    time: String,
    told: String,
    text: String,
}

impl Search {
    fn read(&mut self, file: &Path, pass: Pass) -> io::Result<()> {
        let mut lines = BufReader::new(File::open(file)?);
        let mut line = Vec::new();
        while read_line(&mut lines, &mut line)? {
            let Some(parsed) = LogLine::parse(&line) else {
                self.unreadable += usize::from(pass == Pass::Second);
                continue;
            };
            match pass {
                Pass::First if self.wanted.has_one_of(&parsed) => self.related.add_all_of(&parsed),
                Pass::First => {}
                Pass::Second if !self.related.has_one_of(&parsed) => {}
                Pass::Second => {
                    let text = String::from_utf8_lossy(&line).into_owned();
                    self.found.insert(Found { time: parsed.time.clone(), told: parsed.tell(), text });
                    if self.found.len() > LINES_MAX {
                        self.found.pop_last();
                        self.left_out += 1;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Reads a line without its end; of one that is too long nothing is kept, so that it is no line of a log. `false` at the end of the file.
fn read_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut is_too_long = false;
    loop {
        let ready = lines.fill_buf()?;
        if ready.is_empty() {
            return Ok(!line.is_empty() || is_too_long);
        }
        let end = memchr::memchr(b'\n', ready);
        let part = &ready[..end.unwrap_or(ready.len())];
        is_too_long |= line.len() + part.len() > LINE_BYTES_MAX;
        if is_too_long {
            line.clear();
        } else {
            line.extend_from_slice(part);
        }
        let read = end.map_or(ready.len(), |end| end + 1);
        lines.consume(read);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// The fields of an access line (those with a `status`) and of an audit line (those with an `outcome`).
#[derive(Default, Deserialize)]
#[serde(default)]
struct LogLine {
    time: String,
    request_id: Option<String>,
    caller: Option<String>,
    token: Option<String>,
    tenant: Option<String>,
    operation: Option<String>,
    status: Option<u16>,
    reason: Option<String>,
    rule: Option<String>,
    vendor_code: Option<u64>,
    vendor_status: Option<u16>,
    msg_id: Option<String>,
    cid: Option<String>,
    outcome: Option<String>,
    duration_ms: Option<f64>,
    vendor_ms: Option<f64>,
    attempts: u8,
    peer: Option<String>,
    host: Option<String>,
}

impl LogLine {
    fn parse(line: &[u8]) -> Option<Self> {
        let line: Self = serde_json::from_slice(line).ok()?;
        (!line.time.is_empty() && (line.status.is_some() || line.outcome.is_some())).then_some(line)
    }

    /// What the line says, in words.
    fn tell(&self) -> String {
        let mut told = format!("{}  request {}: ", self.time, self.request_id.as_deref().unwrap_or("-"));
        match &self.outcome {
            Some(outcome) => self.tell_audit(outcome, &mut told),
            None => self.tell_access(&mut told),
        }
        // A value of a request cannot begin a line of its own or control a terminal.
        told.chars()
            .flat_map(
                |letter| if letter.is_control() { letter.escape_default().collect() } else { vec![letter] },
            )
            .collect()
    }

    fn tell_access(&self, told: &mut String) {
        self.tell_who(told);
        if let Some(peer) = &self.peer {
            add(told, format_args!(" from {peer}"));
        }
        add(told, format_args!(" was answered {}", self.status.unwrap_or_default()));
        if let Some(reason) = &self.reason {
            add(told, format_args!(" {reason}"));
        }
        if let Some(rule) = &self.rule {
            add(told, format_args!(" (rule {rule})"));
        }
        if let Some(took) = self.duration_ms {
            add(told, format_args!(" after {took:.0} ms"));
        }
        match (self.attempts, &self.reason) {
            (0, None) => told.push_str(
                "; nothing was sent for it: it got the answer of an earlier request, or needed none",
            ),
            (0, Some(_)) => told.push_str("; nothing was sent"),
            (attempts, _) => {
                let plural = if attempts == 1 { "" } else { "s" };
                add(told, format_args!("; {attempts} attempt{plural}"));
                if let Some(host) = &self.host {
                    add(told, format_args!(" at {host}"));
                }
                if let Some(took) = self.vendor_ms {
                    add(told, format_args!(", the vendor took {took:.0} ms"));
                }
            }
        }
        self.tell_codes(told);
    }

    fn tell_audit(&self, outcome: &str, told: &mut String) {
        told.push_str("the call of ");
        self.tell_who(told);
        told.push_str(match outcome {
            "answered" => " was sent, and the vendor answered",
            "timed-out" => " was sent, and no answer came in time: it may have had its effect",
            "interrupted" => " was sent, and the connection broke: it may have had its effect",
            _ => " was sent, and its end is not known: it may have had its effect",
        });
        if let Some(status) = self.vendor_status {
            add(told, format_args!(" {status}"));
        }
        self.tell_codes(told);
        if let Some(cid) = &self.cid {
            add(told, format_args!(", cid {cid}"));
        }
    }

    fn tell_who(&self, told: &mut String) {
        let or = |value: &Option<String>, none: &str| value.clone().unwrap_or_else(|| none.to_owned());
        let caller = or(&self.caller, "a stranger");
        add(told, format_args!("{} by {caller}", or(&self.operation, "a call")));
        if let Some(token) = &self.token {
            add(told, format_args!(" (token {token})"));
        }
        if let Some(tenant) = &self.tenant {
            add(told, format_args!(" for {tenant}"));
        }
    }

    fn tell_codes(&self, told: &mut String) {
        if let Some(code) = self.vendor_code {
            add(told, format_args!(", vendor code {code}"));
        }
        if let Some(id) = &self.msg_id {
            add(told, format_args!(", msg_id {id}"));
        }
    }
}

fn add(told: &mut String, what: std::fmt::Arguments<'_>) {
    told.write_fmt(what).expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_one_by_one_and_long_ones_are_left_out() {
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        let text = format!("one\n\n{long}\nlast");
        let mut lines = BufReader::with_capacity(7, text.as_bytes());
        let (mut line, mut read) = (Vec::new(), Vec::new());
        while read_line(&mut lines, &mut line).expect("memory") {
            read.push(String::from_utf8(line.clone()).expect("ASCII"));
        }
        assert_eq!(read, ["one", "", "", "last"]);
    }

    #[test]
    fn what_a_request_says_stays_on_its_line() {
        let line = LogLine::parse(b"{\"time\":\"t\",\"request_id\":\"a\\nb\\u001b[2J\",\"status\":200}")
            .expect("a line");
        assert!(line.tell().starts_with("t  request a\\nb\\u{1b}[2J: "), "{}", line.tell());
        assert!(LogLine::parse(b"{\"time\":\"t\"}").is_none() && LogLine::parse(b"no JSON").is_none());
    }
}
