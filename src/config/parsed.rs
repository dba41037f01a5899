//! Parses the files of a configuration, and keeps what was parsed, so that the next configuration parses only the files
//! whose bytes changed.
//!
//! A parsed file depends on its own text alone. Everything that is made of it (entries, secrets, faults) is made anew
//! for each configuration, so nothing else can make a kept file out of date.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use super::document::{self, Document, RemainingLimits};
use super::fault::ConfigFault;
use super::lines::Lines;

/// SHA-256 of a text.
type TextDigest = [u8; 32];

/// The files of a configuration as they were parsed. They live as long as it, and hold no secret that it does not hold.
#[derive(Default)]
pub struct ParsedFiles {
    by_text: HashMap<TextDigest, ParsedFile>,
    count: usize,
    anew: usize,
}

impl ParsedFiles {
    /// The number of all files.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The number of files that were parsed for this configuration, because the one before had none with such bytes.
    pub fn anew(&self) -> usize {
        self.anew
    }
}

/// A parsed file, and the lines of those keys that were looked for.
#[derive(Clone)]
pub(super) struct ParsedFile {
    text: TextDigest,
    pub(super) document: Arc<Document>,
    pub(super) lines: Arc<Lines>,
}

/// Parses the files of one configuration, within the limits that they share.
pub(super) struct FileParser<'k> {
    pub(super) limits: RemainingLimits,
    known: &'k ParsedFiles,
    count: Cell<usize>,
    anew: Cell<usize>,
}

impl<'k> FileParser<'k> {
    /// `known` has the files of the configuration before.
    pub(super) fn new(known: &'k ParsedFiles) -> Self {
        Self { limits: RemainingLimits::default(), known, count: Cell::new(0), anew: Cell::new(0) }
    }

    /// Parses a text, unless it is known. A known one counts against the limits as if it were parsed.
    pub(super) fn parse(&self, text: &str) -> Result<ParsedFile, ConfigFault> {
        self.count.update(|count| count + 1);
        let digest = digest(&SHA256, text.as_bytes()).as_ref().try_into().expect("SHA-256 gives 32 bytes");
        let known = self.known.by_text.get(&digest);
        // One that is too large for what is left is parsed, for a fault that names the line.
        if let Some(known) = known.filter(|known| self.limits.take_known(text, &known.document)) {
            return Ok(known.clone());
        }
        self.anew.update(|anew| anew + 1);
        let document = Arc::new(document::read(text, &self.limits)?);
        Ok(ParsedFile { text: digest, document, lines: Arc::default() })
    }

    /// What the next configuration may take over: the files of this one, each with the lines that were looked for.
    pub(super) fn finish(self, files: impl Iterator<Item = (ParsedFile, Lines)>) -> ParsedFiles {
        let by_text = files.map(|(file, lines)| (file.text, ParsedFile { lines: Arc::new(lines), ..file }));
        ParsedFiles { by_text: by_text.collect(), count: self.count.get(), anew: self.anew.get() }
    }
}
