//! Reads multipart forms as Commons `FileUpload` does: a vendor in Java uses it or a descendant of it.
//!
//! Its peculiarities are copied, so that a form which the gateway reads otherwise shows up. One is not: the end of the
//! body ends the last part, because one SDK never sends the closing boundary.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use memchr::memmem;

use super::percent::decoded;

/// Upper bound of parts, more than any documented form has.
const PARTS_MAX: usize = 32;
const HEAD_BYTES_MAX: usize = 10 * 1024;

/// One part of a form with its content.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReceivedPart {
    pub(super) name: String,
    pub(super) file_name: Option<String>,
    pub(super) data: Bytes,
}

/// Parses a whole form; `None` if it is not one. Parts without a name are left out.
pub(super) fn read(content_type: &str, body: &Bytes) -> Option<Vec<ReceivedPart>> {
    if !content_type.to_ascii_lowercase().starts_with("multipart/") {
        return None;
    }
    let delimiter = format!("\r\n--{}", parameter(content_type, "boundary")?);
    let (mut parts, mut count) = (Vec::new(), 0);
    // The first boundary need not follow a line break.
    let mut at = memmem::find(body, &delimiter.as_bytes()[2..])? + delimiter.len() - 2;
    while let Some(start) = part_start(&body[at..]) {
        count += 1;
        let start = at + start;
        let head = memmem::find(&body[start..], b"\r\n\r\n").filter(|_| count <= PARTS_MAX)?;
        let content = start + head + 4;
        let length = memmem::find(&body[content..], delimiter.as_bytes()).unwrap_or(body.len() - content);
        parts.extend(part(&body[start..content - 4], body.slice(content..content + length)));
        if head > HEAD_BYTES_MAX {
            return None;
        }
        at = (content + length + delimiter.len()).min(body.len());
    }
    Some(parts)
}

/// Bytes from a boundary to the part after it. `None` for the closing boundary and for a malformed one.
fn part_start(behind: &[u8]) -> Option<usize> {
    match behind {
        [b'\r', b'\n', ..] => Some(2),
        [b'\n', ..] => Some(1),
        _ => None,
    }
}

fn part(head: &[u8], data: Bytes) -> Option<ReceivedPart> {
    let head = String::from_utf8_lossy(head).replace("\r\n\t", " ").replace("\r\n ", " ");
    let lines = head.split("\r\n").take_while(|line| !line.is_empty());
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let (_, disposition) =
        fields.find(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"))?;
    let disposition = disposition.trim();
    if !disposition.to_ascii_lowercase().starts_with("form-data") {
        return None;
    }
    let extended = || parameter(disposition, "filename*")?.rsplit('\'').next().map(decoded);
    Some(ReceivedPart {
        name: parameter(disposition, "name")?.trim_matches(|character| character <= ' ').to_owned(),
        file_name: parameter(disposition, "filename").or_else(extended),
        data,
    })
}

/// The last parameter of this name, decoded.
fn parameter(header: &str, name: &str) -> Option<String> {
    let (mut quoted, mut escaped) = (false, false);
    let parameters = header.split(|character| {
        let splits = character == ';' && !quoted;
        quoted ^= character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        splits
    });
    let pairs: Vec<_> = parameters.filter_map(|parameter| parameter.split_once('=')).collect();
    let (_, value) = pairs.into_iter().rfind(|(key, _)| key.trim().eq_ignore_ascii_case(name))?;
    let value = value.trim();
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    Some(words(bare.unwrap_or(value)))
}

/// Decodes encoded words (RFC 2047). A word that cannot be decoded stays as it is.
fn words(text: &str) -> String {
    if !text.contains("=?") {
        return text.to_owned();
    }
    let word = |word: &str| {
        let fields: Vec<_> = word.strip_prefix("=?")?.strip_suffix("?=")?.splitn(3, '?').collect();
        let &[_, encoding, text] = &fields[..] else { return None };
        match encoding {
            "B" | "b" => Some(String::from_utf8_lossy(&STANDARD.decode(text).ok()?).into_owned()),
            "Q" | "q" => Some(decoded(&text.replace('%', "%25").replace('_', " ").replace('=', "%"))),
            _ => None,
        }
    };
    text.split_whitespace().map(|text| word(text).unwrap_or_else(|| text.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Option<&[(&str, Option<&str>, &str)]>) {
        let parts = read("multipart/form-data; boundary=b", &Bytes::copy_from_slice(body.as_bytes()));
        let part = |(name, file, data): &(&str, Option<&str>, &str)| ReceivedPart {
            name: (*name).to_owned(),
            file_name: file.map(str::to_owned),
            data: Bytes::copy_from_slice(data.as_bytes()),
        };
        let expected: Option<Vec<ReceivedPart>> = expected.map(|parts| parts.iter().map(part).collect());
        assert_eq!(parts, expected, "{body:?}");
    }

    #[test]
    fn forms_of_real_clients_are_read() {
        let ttl = "--b\r\nContent-Disposition: form-data; name=\"ttl\"\r\n\r\n1\r\n";
        let file = "--b\r\nContent-Disposition: form-data; name=\"filename\"; filename=\"名.txt\"\r\n\
                    Content-Type:text/plain\r\n\r\na\n\r\n";
        let both: &[_] = &[("ttl", None, "1"), ("filename", Some("名.txt"), "a\n")];
        check(&format!("{ttl}{file}--b--\r\n"), Some(both));
        check(&format!("\r\n{ttl}{file}--b--"), Some(both));
        check(&format!("{ttl}{}", file.trim_end_matches("\r\n")), Some(both));
        check("--b--\r\n", Some(&[]));
        for bad in ["", "{}", "--c\r\n\r\n", "--b\r\nnonsense"] {
            check(bad, None);
        }
        assert!(read("application/json", &Bytes::from_static(b"--b--")).is_none());
        check(&ttl.repeat(33), None);
    }

    #[test]
    fn heads_are_read_as_java_reads_them() {
        for disposition in [
            "form-data;\r\n name=\"filename\";\r\n\tfilename=\"名 a.txt\"",
            "form-data; name=\" filename \"; filename=\"=?UTF-8?Q?=E5=90=8D_a.txt?=\"",
            "form-data; name=\"x\"; name=filename; filename=\"=?utf-8?B?5ZCN?=\r\n =?utf-8?B?IGEudHh0?=\"",
            "FORM-DATA; name=\"=?UTF-8?B?ZmlsZW5hbWU=?=\"; filename*=UTF-8''%E5%90%8D%20a.txt",
            "form-data; x=a\"b; y=\"; name=\"filename\"; filename=\"名 a.txt\"",
        ] {
            let body = format!("--b\r\nX: y\r\nContent-Disposition: {disposition}\r\n\r\na\r\n--b--\r\n");
            check(&body, Some(&[("filename", Some("名 a.txt"), "a")]));
        }
    }

    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        content_type: String,
        body: String,
        readings: std::collections::BTreeMap<String, Option<Vec<(String, String)>>>,
    }

    #[test]
    fn what_file_upload_read_we_read() {
        const FIELDS: [&str; 5] = ["filename", "ttl", "oppo_file", "xiaomi_file", "image_type"];
        for line in include_str!("../../tests/data/forms/readings.jsonl").lines() {
            let case: Case = serde_json::from_str(line).expect("a case");
            let Some(theirs) = case.readings["commons"].clone() else { continue };
            let bytes = |text: &str| text.chars().map(|byte| byte as u8).collect::<Vec<_>>();
            let parts = read(&case.content_type, &Bytes::from(bytes(&case.body))).unwrap_or_default();
            let parts = parts.iter().filter(|part| FIELDS.contains(&&*part.name));
            let ours: Vec<_> = parts
                .map(|part| (part.name.clone(), String::from_utf8_lossy(&part.data).into_owned()))
                .collect();
            // This reader does not read forms inside of forms.
            let differ = ours != theirs && !case.name.starts_with("nested form");
            assert!(!differ, "{}: {ours:?}, {theirs:?}", case.name);
        }
    }
}
