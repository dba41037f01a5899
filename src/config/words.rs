//! Handles words of the operator in messages: suggests what was probably meant, and hides what may be a secret.

use std::cmp::Reverse;

/// The longest word that gets a suggestion, in bytes.
const WORD_LEN_MAX: usize = 64;

/// The known word that an unknown one was probably meant to be: the nearest one, or the only one that starts with it.
/// One letter in three may be changed, left out, added or swapped with its neighbour. Among words that are
/// equally near, the one with the longest beginning in common is meant.
pub(super) fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if !(2..=WORD_LEN_MAX).contains(&written.len()) {
        return None;
    }
    let written = written.to_lowercase();
    let changes_max = (written.chars().count() / 3).max(1);
    let known: Vec<_> = known.into_iter().filter(|known| known.len() > 2).collect();
    let changes = |known: &str| strsim::damerau_levenshtein(&written, &known.to_lowercase());
    let in_common = |known: &str| {
        written.chars().zip(known.to_lowercase().chars()).take_while(|(ours, theirs)| ours == theirs).count()
    };
    let nearness = |known: &&'k str| (changes(known), Reverse(in_common(known)), *known);
    let near = known.iter().map(nearness).min().map(|(changes, _, known)| (changes, known));
    let mut longer = known.iter().filter(|known| written.len() > 2 && known.starts_with(&written));
    match (near, longer.next(), longer.next()) {
        (Some((changes, known)), _, _) if changes <= changes_max => Some(known),
        (_, Some(only), None) => Some(only),
        _ => None,
    }
}

/// The text `; did you mean push?` for the end of a message, or an empty text when no word is near.
pub fn hint<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    nearest(written, known).map_or_else(String::new, |known| format!("; did you mean {known}?"))
}

/// The word quoted for a message; `None` where somebody may have pasted a secret.
pub(super) fn quoted(written: &str) -> Option<String> {
    (!may_be_secret(written)).then(|| shown(written))
}

/// Whether a text contains a long run of letters and digits, as keys, secrets, tokens and digests do. A run of capital
/// letters alone is taken for the name of a variable.
pub(super) fn may_be_secret(text: &str) -> bool {
    const RUN_MIN: usize = 16;
    // A run of letters alone may be a long word, up to this length.
    const LETTERS_MIN: usize = 20;
    let is_run = |run: &str| {
        let has_digit = run.bytes().any(|byte| byte.is_ascii_digit());
        run.len() >= if has_digit { RUN_MIN } else { LETTERS_MIN }
            && !run.bytes().all(|byte| byte.is_ascii_uppercase())
    };
    // Splits at everything else, so that quotes, blanks and an equals sign around a secret do not hide it.
    text.split(|letter: char| !letter.is_ascii_alphanumeric()).any(is_run)
}

/// A text from the file as a message shows it: quoted, escaped onto one line and cut at 200 characters.
pub(super) fn shown(text: &str) -> String {
    const CHARACTERS_MAX: usize = 200;
    let cut: String = text.chars().take(CHARACTERS_MAX).collect();
    if cut.len() < text.len() { format!("{cut:?}…") } else { format!("{cut:?}") }
}

/// A key as part of a path: as written, or quoted where it could be misread or is long.
pub(super) fn segment(name: &str) -> String {
    const PLAIN_LEN_MAX: usize = 64;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let as_written = matches!(name.len(), 1..=PLAIN_LEN_MAX) && name.bytes().all(plain);
    if as_written { name.to_owned() } else { shown(name) }
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
        let tenants = ["t0000", "t0001", "t0007x", "t0070"];
        assert_eq!(nearest("t0007", tenants), Some("t0007x"), "the longest beginning in common");
        assert_eq!(nearest("t0071", tenants), Some("t0070"));
        assert_eq!(nearest("t0007y", tenants), Some("t0007x"));
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
