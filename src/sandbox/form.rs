//! Multipart forms, as real clients write them.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use multer::Multipart;

/// More parts than any documented form has.
const PARTS_MAX: usize = 32;

/// One part of a form.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) file_name: Option<String>,
    pub(super) data: Bytes,
}

/// Reads a whole form; `None` if it is not one. A missing closing boundary is added: clients forget it.
pub(super) fn read(content_type: &str, body: &Bytes) -> Option<Vec<Part>> {
    let boundary = multer::parse_boundary(content_type).ok()?;
    let opening = format!("--{boundary}");
    memchr::memmem::find(body, opening.as_bytes())?;
    let end = format!("--{boundary}--");
    let closing = if memchr::memmem::rfind(body, end.as_bytes()).is_some() {
        Bytes::new()
    } else {
        Bytes::from(format!("\r\n{end}\r\n"))
    };
    let chunks = [body.clone(), closing].map(Ok::<_, Infallible>);
    let form = Multipart::new(stream::iter(chunks), boundary);
    // Every byte is here, so the future is ready at once.
    parts(form).now_or_never()?
}

async fn parts(mut form: Multipart<'static>) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    while let Some(field) = form.next_field().await.ok()? {
        if parts.len() == PARTS_MAX {
            return None;
        }
        let name = field.name().unwrap_or_default().to_owned();
        let file_name = field.file_name().map(str::to_owned);
        parts.push(Part { name, file_name, data: field.bytes().await.ok()? });
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Option<&[(&str, Option<&str>, &str)]>) {
        let parts = read("multipart/form-data; boundary=b", &Bytes::copy_from_slice(body.as_bytes()));
        let seen = parts.as_ref().map(|parts| {
            let part = |part: &Part| (part.name.clone(), part.file_name.clone(), part.data.clone());
            parts.iter().map(part).collect::<Vec<_>>()
        });
        let expected = expected.map(|parts| {
            parts
                .iter()
                .map(|(name, file, data)| {
                    ((*name).to_owned(), file.map(str::to_owned), Bytes::copy_from_slice(data.as_bytes()))
                })
                .collect::<Vec<_>>()
        });
        assert_eq!(seen, expected, "{body:?}");
    }

    #[test]
    fn forms_of_real_clients_are_read() {
        let ttl = "--b\r\nContent-Disposition: form-data; name=\"ttl\"\r\n\r\n1\r\n";
        let file = "--b\r\nContent-Disposition: form-data; name=\"filename\"; filename=\"名.txt\"\r\n\
                    Content-Type:text/plain\r\n\r\na\n\r\n";
        let both: &[_] = &[("ttl", None, "1"), ("filename", Some("名.txt"), "a\n")];
        check(&format!("{ttl}{file}--b--\r\n"), Some(both));
        check(&format!("\r\n{ttl}{file}--b--"), Some(both));
        check(
            &format!("{ttl}{}", file.trim_end_matches("\r\n")),
            Some(&[("ttl", None, "1"), ("filename", Some("名.txt"), "a\n")]),
        );
        check("--b--\r\n", Some(&[]));
        for bad in ["", "{}", "--c\r\n\r\n", "--b\r\nnonsense"] {
            check(bad, None);
        }
        assert!(read("application/json", &Bytes::from_static(b"--b--")).is_none());
    }
}
