//! Words that an operator wrote: what was probably meant, and what a message may show of them.

use super::fault::shown;

/// The longest word that anything is suggested for, in bytes.
const WORD_LEN_MAX: usize = 64;

/// What a word that is not known was probably meant to be: the nearest of the known ones, or the only one that it is the
/// beginning of. Letters may be changed, left out, added or swapped, one for every three that are written.
pub(super) fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if !(2..=WORD_LEN_MAX).contains(&written.len()) {
        return None;
    }
    let written = written.to_lowercase();
    let changes_max = (written.chars().count() / 3).max(1);
    let known: Vec<_> = known.into_iter().filter(|known| known.len() > 2).collect();
    let changes = |known: &str| strsim::damerau_levenshtein(&written, &known.to_lowercase());
    let near = known.iter().map(|known| (changes(known), *known)).min();
    let mut longer = known.iter().filter(|known| written.len() > 2 && known.starts_with(&written));
    match (near, longer.next(), longer.next()) {
        (Some((changes, known)), _, _) if changes <= changes_max => Some(known),
        (_, Some(only), None) => Some(only),
        _ => None,
    }
}

/// `; did you mean push?`, or nothing.
pub fn hint<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    nearest(written, known).map_or_else(String::new, |known| format!("; did you mean {known}?"))
}

/// A word as a message can show it; nothing where somebody may have pasted a secret.
pub(super) fn quoted(written: &str) -> Option<String> {
    (!may_be_secret(written)).then(|| shown(written))
}

/// Whether a text has the form of keys, secrets, tokens and digests: a long run of letters and digits in it.
/// Names in capitals are the operating system's.
pub(super) fn may_be_secret(text: &str) -> bool {
    const RUN_MIN: usize = 16;
    // Of letters alone it may be a long word, up to here.
    const LETTERS_MIN: usize = 20;
    let is_run = |run: &str| {
        let has_digit = run.bytes().any(|byte| byte.is_ascii_digit());
        run.len() >= if has_digit { RUN_MIN } else { LETTERS_MIN }
            && !run.bytes().all(|byte| byte.is_ascii_uppercase())
    };
    // Whatever stands around it: quotes, blanks, an equals sign.
    text.split(|letter: char| !letter.is_ascii_alphanumeric()).any(is_run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_probably_meant() {
        let scopes = ["push", "file", "group", "schedule", "image", "device", "report"];
        let keys = ["certificate", "private_key", "connections", "json_body", "shop", "env"];
        let rows: [(&str, &[&str], Option<&str>); 18] = [
            ("pusch", &scopes, Some("push")),
            ("pushes", &scopes, Some("push")),
            ("psuh", &scopes, Some("push")),
            ("PUSH", &scopes, Some("push")),
            ("schedules", &scopes, Some("schedule")),
            ("devise", &scopes, Some("device")),
            ("images", &scopes, Some("image")),
            ("repot", &scopes, Some("report")),
            ("read", &scopes, None),
            ("all", &scopes, None),
            ("cert", &keys, Some("certificate")),
            ("jsonBody", &keys, Some("json_body")),
            ("json-body", &keys, Some("json_body")),
            ("conn", &keys, Some("connections")),
            ("shpo", &keys, Some("shop")),
            ("en", &keys, Some("env")),
            ("e", &keys, None),
            ("", &keys, None),
        ];
        for (written, known, expected) in rows {
            assert_eq!(nearest(written, known.iter().copied()), expected, "{written}");
        }
        assert_eq!(nearest("con", ["connections", "connect_timeout"]), None, "it could be either");
        assert_eq!(nearest(&"x".repeat(WORD_LEN_MAX + 1), ["push"]), None);
    }

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        for secret in [
            "5e987ac6d2e04d95a9d8f0d1",
            " ordersTokenForTests20261",
            "KEY=5e987ac6d2e04d95a9d8",
            "a5e987ac6d2e04d95",
        ] {
            assert_eq!(quoted(secret), None, "{secret}");
        }
        for name in [
            "shop",
            "SHOP_MASTER_SECRET",
            "SHOPMASTERSECRET",
            "/run/secrets/shop-dev",
            "group-of-many-tenants",
            "shopmastersecret",
        ] {
            assert!(quoted(name).is_some(), "{name}");
        }
    }
}
