//! Reads certificates and private keys from PEM files as editors, tools and operators leave them.
//!
//! The library's reader skips lines that it does not know. It would silently skip a whole section whose first line
//! begins with a byte-order mark, a blank or the end of the section before. This module returns an error instead, or
//! removes the mark.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use memchr::memmem::{find, find_iter};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// The longest file that is read, in bytes. Bundles of operating systems have about 256 KiB.
const BYTES_MAX: usize = 4 << 20;

/// The byte-order mark that editors on Windows put at the start of UTF-8. Joining files with `cat` leaves it in the
/// middle of a bundle.
const MARK: &[u8] = b"\xef\xbb\xbf";

const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The reason why a file cannot be used. Never quotes the file: it may hold a key.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The operating system refused to open or read the file.
    #[error("the file cannot be read")]
    Io(#[source] io::Error),
    /// The file is longer than 4 MiB.
    #[error("the file is larger than 4 MiB")]
    TooLarge,
    /// The file is UTF-16, which PowerShell writes by default.
    #[error("the file is UTF-16; save it as ASCII or UTF-8")]
    Utf16,
    /// The file has no section of this label.
    #[error("there is no '-----BEGIN {0}-----' in the file")]
    None(&'static str),
    /// The key is encrypted.
    #[error(
        "the private key is encrypted, and nobody is there to type its passphrase; decrypt it (openssl pkey -in FILE -out FILE)"
    )]
    Encrypted,
    /// The key has the format of OpenSSH, which TLS libraries do not read.
    #[error(
        "the private key is in the form of OpenSSH; PKCS#8, PKCS#1 and SEC1 are read (ssh-keygen -p -m PKCS8 -f FILE)"
    )]
    OpenSsh,
    /// A section is malformed; the text says how.
    #[error("{0}")]
    Malformed(&'static str),
}

impl From<pem::Error> for PemError {
    fn from(error: pem::Error) -> Self {
        match error {
            pem::Error::Io(error) => Self::Io(error),
            pem::Error::MissingSectionEnd { .. } => Self::Malformed(
                "a section has no '-----END' line of its own: the file is cut, or its line breaks are gone",
            ),
            pem::Error::IllegalSectionStart { .. } => {
                Self::Malformed("a '-----BEGIN' line goes on behind its '-----': line breaks are gone")
            }
            pem::Error::Base64Decode(_) => Self::Malformed("a section holds something that is not base64"),
            _ => Self::Malformed("a section cannot be read"),
        }
    }
}

/// All certificates of a file, in its order; at least one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let text = read(path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>()?;
    match find_iter(&text, CERTIFICATE).count() {
        0 => Err(PemError::None("CERTIFICATE")),
        count if count != found.len() => Err(PemError::Malformed(
            "a '-----BEGIN CERTIFICATE-----' does not stand at the start of its line",
        )),
        _ => Ok(found),
    }
}

/// The first private key of a file, in PKCS#8, PKCS#1 or SEC1.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let text = read(path)?;
    let has = |words: &str| find(&text, words.as_bytes()).is_some();
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        _ if has("-----BEGIN ENCRYPTED PRIVATE KEY-----") || has("Proc-Type: 4,ENCRYPTED") => {
            PemError::Encrypted
        }
        _ if has("-----BEGIN OPENSSH PRIVATE KEY-----") => PemError::OpenSsh,
        pem::Error::NoItemsFound if has("PRIVATE KEY-----") => {
            PemError::Malformed("a '-----BEGIN … PRIVATE KEY-----' does not stand at the start of its line")
        }
        pem::Error::NoItemsFound => PemError::None("PRIVATE KEY"),
        error => error.into(),
    })
}

/// The content of a file without byte-order marks. Wiped on drop, as it may hold a key.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(PemError::Io)?;
    file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(PemError::Io)?;
    if bytes.len() > BYTES_MAX {
        return Err(PemError::TooLarge);
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(PemError::Utf16);
    }
    let mut text = Zeroizing::new(Vec::with_capacity(bytes.len()));
    let mut from = 0;
    for mark in find_iter(&bytes, MARK) {
        text.extend_from_slice(&bytes[from..mark]);
        from = mark + MARK.len();
    }
    text.extend_from_slice(&bytes[from..]);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A file that goes away with the test.
    struct Written(PathBuf);

    impl Written {
        fn new(name: &str, content: impl AsRef<[u8]>) -> Self {
            let path = std::env::temp_dir().join(format!("jpush-gateway-pem-{}-{name}", std::process::id()));
            std::fs::write(&path, content).expect("the file is written");
            Self(path)
        }
    }

    impl Drop for Written {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn certificate(body: &str) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    }

    #[test]
    fn nothing_of_a_bundle_is_passed_over() {
        let (a, b) = (certificate("AAAA"), certificate("AAEC"));
        let rows = [
            (format!("{a}{b}"), Ok(2)),
            (format!("\u{feff}{a}{b}"), Ok(2)),
            (format!("{a}\u{feff}{b}"), Ok(2)),
            (format!("\u{feff}# a comment\r\n{}", a.replace('\n', "\r\n")), Ok(1)),
            (format!("{}{b}", a.trim_end()), Err("does not stand at the start of its line")),
            (format!("{a} {b}"), Err("does not stand at the start of its line")),
            (a.replace('\n', " "), Err("line breaks are gone")),
            (a.replace("-----END", "END"), Err("no '-----END' line of its own")),
            (certificate("A!AA"), Err("not base64")),
            (String::new(), Err("there is no '-----BEGIN CERTIFICATE-----'")),
        ];
        for (row, (text, expected)) in rows.into_iter().enumerate() {
            let file = Written::new(&format!("bundle-{row}"), &text);
            match (certificates(&file.0), expected) {
                (Ok(found), Ok(count)) => assert_eq!(found.len(), count, "row {row}"),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "row {row}: {error}"),
                (outcome, _) => panic!("row {row}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn a_key_that_cannot_be_read_is_told_as_what_it_is() {
        let section =
            |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        let legacy = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA";
        let rows = [
            (section("PRIVATE KEY", "AAAA"), None),
            (format!("\u{feff}{}", section("RSA PRIVATE KEY", "AAAA")), None),
            (format!("{}\u{feff}{}", certificate("AAAA"), section("EC PRIVATE KEY", "AAAA")), None),
            (section("ENCRYPTED PRIVATE KEY", "AAAA"), Some("encrypted")),
            (format!("\u{feff}{}", section("ENCRYPTED PRIVATE KEY", "AAAA")), Some("encrypted")),
            (section("RSA PRIVATE KEY", legacy), Some("encrypted")),
            (section("EC PRIVATE KEY", legacy), Some("encrypted")),
            (section("OPENSSH PRIVATE KEY", "AAAA"), Some("OpenSSH")),
            (section("PRIVATE KEY", "AAAA").replace('\n', " "), Some("line breaks are gone")),
            (format!(" {}", section("PRIVATE KEY", "AAAA")), Some("start of its line")),
            (certificate("AAAA"), Some("there is no '-----BEGIN PRIVATE KEY-----'")),
        ];
        for (row, (text, expected)) in rows.into_iter().enumerate() {
            let file = Written::new(&format!("key-{row}"), &text);
            match (private_key(&file.0), expected) {
                (Ok(_), None) => {}
                (Err(error), Some(words)) => {
                    let said = error.to_string();
                    assert!(said.contains(words) && !said.contains("AAAA"), "row {row}: {said}");
                }
                (outcome, _) => panic!("row {row}: {:?}", outcome.err()),
            }
        }
    }

    #[test]
    fn other_files_are_told_as_such() {
        let wide: Vec<u8> = "-----BEGIN".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let rows = [
            ([b"\xff\xfe", &wide[..]].concat(), "UTF-16"),
            (vec![b'\n'; BYTES_MAX + 1], "larger than 4 MiB"),
        ];
        for (row, (bytes, words)) in rows.into_iter().enumerate() {
            let file = Written::new(&format!("other-{row}"), bytes);
            assert!(certificates(&file.0).is_err_and(|error| error.to_string().contains(words)));
            assert!(private_key(&file.0).is_err_and(|error| error.to_string().contains(words)));
        }
    }
}
