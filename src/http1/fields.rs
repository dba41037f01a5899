//! Header fields of an answer, kept as the lines they will be on the wire. Pure.
//!
//! An answer's fields are written once, looked at a few times and sent: a map that hashes every name and shares every
//! value was a twelfth of the instructions of a push.

use std::ops::Deref;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields that the gateway adds to an answer, a request id and six about its budget: room for them is made at once.
const FIELDS_TO_COME: usize = 8;
/// Room for the text of these fields, in bytes.
const BYTES_TO_COME: usize = 320;

/// The value of a header field. It cannot hold a line end, wherever it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldValue<'v>(&'v [u8]);

impl<'v> FieldValue<'v> {
    /// From bytes that a parser of heads found to be a value.
    pub(crate) fn parsed(value: &'v [u8]) -> Self {
        debug_assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "a value has no line end");
        Self(value)
    }

    /// The bytes of the value.
    pub fn bytes(self) -> &'v [u8] {
        self.0
    }

    /// As a text, if it is ASCII.
    pub fn text(self) -> Option<&'v str> {
        std::str::from_utf8(self.0).ok().filter(|text| text.is_ascii())
    }
}

impl Deref for FieldValue<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0
    }
}

impl<'v> From<&'v HeaderValue> for FieldValue<'v> {
    fn from(value: &'v HeaderValue) -> Self {
        Self(value.as_bytes())
    }
}

/// A part of a value that we write ourselves.
#[derive(Clone, Copy, Debug)]
pub enum ValuePart<'p> {
    /// A text of the gateway's own.
    Text(&'static str),
    /// A decimal number.
    Number(u64),
    /// A value that came from somebody else.
    Value(FieldValue<'p>),
}

/// Header fields in their order. Names are in title case: `X-Request-Id`.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    text: Vec<u8>,
    lines: Vec<FieldLine>,
    /// The text holds lines that were removed.
    has_gaps: bool,
}

/// The place of a line in the text, its end included.
#[derive(Clone, Copy, Debug)]
struct FieldLine {
    start: u32,
    name_end: u32,
    end: u32,
}

impl Fields {
    /// None yet; room is made for so many of so many bytes, and for those that the gateway adds.
    pub fn with_room(fields: usize, bytes: usize) -> Self {
        Self {
            text: Vec::with_capacity(bytes + BYTES_TO_COME),
            lines: Vec::with_capacity(fields + FIELDS_TO_COME),
            has_gaps: false,
        }
    }

    /// Adds a field behind the others.
    pub fn append(&mut self, name: &'static str, parts: &[ValuePart<'_>]) {
        debug_assert_eq!(name, title_case(name), "or it is never found");
        self.append_line(name.as_bytes(), |text| {
            for part in parts {
                match part {
                    ValuePart::Text(words) => text.extend_from_slice(words.as_bytes()),
                    ValuePart::Number(number) => {
                        text.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes());
                    }
                    ValuePart::Value(value) => text.extend_from_slice(value),
                }
            }
        });
    }

    /// Adds a field as it was parsed.
    pub(crate) fn append_parsed(&mut self, field: &httparse::Header<'_>) {
        let (value, start) = (FieldValue::parsed(field.value), self.text.len());
        self.append_line(field.name.as_bytes(), |text| text.extend_from_slice(&value));
        make_title_case(&mut self.text[start..start + field.name.len()]);
    }

    fn append_line(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let at = |length: usize| u32::try_from(length).expect("heads have limits of kilobytes");
        let start = self.text.len();
        self.text.extend_from_slice(name);
        let name_end = self.text.len();
        self.text.extend_from_slice(b": ");
        write(&mut self.text);
        self.text.extend_from_slice(b"\r\n");
        self.lines.push(FieldLine { start: at(start), name_end: at(name_end), end: at(self.text.len()) });
    }

    /// Puts a field in the place of all of its name.
    pub fn set(&mut self, name: &'static str, parts: &[ValuePart<'_>]) {
        self.remove(name);
        self.append(name, parts);
    }

    /// Removes all fields of a name, which is spelled in title case.
    pub fn remove(&mut self, name: &str) {
        // Nearly always there is none, and looking costs less than keeping.
        if self.get(name).is_some() {
            self.retain(|known| known != name.as_bytes());
        }
    }

    /// Removes the fields whose names, in title case, are not wanted.
    pub fn retain(&mut self, is_wanted: impl Fn(&[u8]) -> bool) {
        let (text, before) = (&self.text, self.lines.len());
        self.lines.retain(|line| is_wanted(line.name(text)));
        self.has_gaps |= self.lines.len() < before;
    }

    /// The first field of a name, which is spelled in title case.
    pub fn get(&self, name: &str) -> Option<FieldValue<'_>> {
        let line = self.lines.iter().find(|line| line.name(&self.text) == name.as_bytes())?;
        Some(line.value(&self.text))
    }

    /// Names and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], FieldValue<'_>)> {
        self.lines.iter().map(|line| (line.name(&self.text), line.value(&self.text)))
    }

    /// A copy of the fields that some names are not.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        let mut kept = self.clone();
        for name in names {
            kept.remove(name);
        }
        kept
    }

    /// Bytes that the fields hold in memory, about.
    pub fn bytes(&self) -> usize {
        self.text.len() + self.lines.len() * size_of::<FieldLine>()
    }

    /// Writes the lines, each with its end.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        if !self.has_gaps {
            return bytes.extend_from_slice(&self.text);
        }
        for line in &self.lines {
            bytes.extend_from_slice(&self.text[line.start as usize..line.end as usize]);
        }
    }
}

/// A name as it is kept here.
pub fn title_case(name: &str) -> String {
    let mut bytes = name.as_bytes().to_vec();
    make_title_case(&mut bytes);
    String::from_utf8(bytes).expect("the case of ASCII letters is no matter of UTF-8")
}

fn make_title_case(name: &mut [u8]) {
    let mut begins = true;
    for byte in name {
        *byte = if begins { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
        begins = *byte == b'-';
    }
}

impl FieldLine {
    fn name(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..self.name_end as usize]
    }

    fn value(self, text: &[u8]) -> FieldValue<'_> {
        FieldValue(&text[self.name_end as usize + ": ".len()..self.end as usize - "\r\n".len()])
    }
}

impl From<&Fields> for HeaderMap {
    fn from(fields: &Fields) -> Self {
        let field = |(name, value): (&[u8], FieldValue<'_>)| {
            Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(&value).ok()?))
        };
        fields.iter().filter_map(field).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fields: &Fields) -> String {
        let mut bytes = Vec::new();
        fields.write(&mut bytes);
        String::from_utf8(bytes).expect("ASCII")
    }

    #[test]
    fn fields_are_written_as_they_were_put_together() {
        let mut fields = Fields::with_room(4, 0);
        fields.append_parsed(&httparse::Header { name: "x-ONE", value: b"1" });
        fields.append("Two", &[ValuePart::Text("a="), ValuePart::Number(2)]);
        fields.append_parsed(&httparse::Header { name: "two", value: b"" });
        assert_eq!(written(&fields), "X-One: 1\r\nTwo: a=2\r\nTwo: \r\n");
        assert_eq!(fields.get("X-One").as_deref(), Some(&b"1"[..]));
        let copy = fields.without(&["X-One"]);
        fields.set("Two", &[ValuePart::Value(FieldValue(b"new"))]);
        assert_eq!(written(&fields), "X-One: 1\r\nTwo: new\r\n");
        assert_eq!(written(&copy), "Two: a=2\r\nTwo: \r\n");
        assert_eq!((fields.get("Three"), fields.iter().count()), (None, 2));
        let map = HeaderMap::from(&fields);
        assert_eq!((map.len(), map["two"].as_bytes()), (2, &b"new"[..]));
    }
}
