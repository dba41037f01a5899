//! Checks secrets and keys: a placeholder that nobody replaced is a fault, and a probable mistake is a warning.
//! Messages never quote any part of them.

use super::reader::ConfigValue;

/// The origin of a secret as messages name it: `the variable SHOP_SECRET`.
pub(super) struct SecretOrigin(pub(super) String);

/// Checks a secret that is not empty. `None` after a fault: the text is certainly no secret.
pub(super) fn judge(value: &ConfigValue<'_>, SecretOrigin(origin): &SecretOrigin, text: &str) -> Option<()> {
    if let Some(placeholder) = placeholder(text) {
        return value.refuse(format!("{origin} holds {placeholder} in place of a secret"));
    }
    if let Some(slip) = slip(text) {
        value.warning(&format!("{origin} {slip}"));
    }
    Some(())
}

/// Checks a key in the same way as [`judge`].
pub(super) fn judge_key(value: &ConfigValue<'_>, text: &str) -> Option<()> {
    if let Some(placeholder) = placeholder(text) {
        return value.refuse(format!("this is {placeholder} in place of a key"));
    }
    if !has_vendor_form(text) {
        value.warning("the key is not 24 letters and digits, as those of the vendor are");
    } else if is_one_letter(text) {
        value.warning("the key is one character again and again, as a key for tests may be");
    }
    Some(())
}

/// Describes the kind of placeholder that a text is; `None` if it may be a real secret.
fn placeholder(text: &str) -> Option<&'static str> {
    let text = text.trim_matches(|letter: char| letter.is_whitespace() || "\"'`".contains(letter));
    // Of `NAME=value` only the value is judged.
    let text = text.split_once('=').filter(|(name, _)| is_name(name)).map_or(text, |(_, value)| value);
    let between =
        |open: &str, close: &str| text.split_once(open).is_some_and(|(_, behind)| behind.contains(close));
    let is_variable = text.strip_prefix('$').is_some_and(is_name);
    if is_variable || between("${", "}") || between("$(", ")") || is_windows_variable(text) {
        return Some("the name of a variable that nothing was put in for");
    }
    if between("{{", "}}") || between("<%", "%>") || between("#{", "}") {
        return Some("a template that was not filled in");
    }
    if text.starts_with('<') && text.ends_with('>') {
        return Some("a placeholder in angle brackets");
    }
    if text.starts_with("vault:") || text.starts_with("op://") || text.starts_with("arn:aws:secretsmanager:")
    {
        return Some("a reference that nothing was put in for");
    }
    is_placeholder_word(text).then_some("a placeholder")
}

/// Whether the text is a usual placeholder: `changeme`, `REPLACE-ME`, `your_master_secret`, `xxxxxx`. Only letters and
/// digits are compared, without case.
fn is_placeholder_word(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "changeit",
        "dummy",
        "fixme",
        "insecure",
        "mastersecret",
        "none",
        "null",
        "placeholder",
        "redacted",
        "secret",
        "tbd",
        "todo",
        "undefined",
    ];
    const BEGINNINGS: &[&str] = &[
        "changeme",
        "changethis",
        "insertyour",
        "putyour",
        "replaceme",
        "replacethis",
        "replacewith",
        "todochange",
    ];
    let letters: String =
        text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
    let is_yours = || {
        letters.starts_with("your")
            && ["secret", "key", "here", "value"].iter().any(|end| letters.ends_with(end))
    };
    // Keys and secrets of tests are often one hexadecimal digit 24 times; no placeholder is.
    let is_of_test = || has_vendor_form(text) && text.starts_with(|letter: char| letter.is_ascii_hexdigit());
    WORDS.contains(&letters.as_str())
        || BEGINNINGS.iter().any(|beginning| letters.starts_with(beginning))
        || is_yours()
        || (text.len() > 2 && is_one_letter(text) && !is_of_test())
}

/// Whether the text is one letter again and again.
fn is_one_letter(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|first| letters.all(|letter| letter == first))
}

/// Describes a probable mistake in a text that may be a secret.
fn slip(text: &str) -> Option<&'static str> {
    if text.trim() != text {
        return Some("has blanks around the secret; they are sent as part of it");
    }
    if ["\"", "'", "`"].iter().any(|quote| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote))
    {
        return Some("has quotes around the secret; they are sent as part of it");
    }
    if text.split_once('=').is_some_and(|(name, value)| is_name(name) && !value.is_empty()) {
        return Some("holds NAME=value; only what stands behind the equals sign is probably meant");
    }
    if !has_vendor_form(text) {
        return Some("holds no 24 letters and digits, as the secrets of the vendor are");
    }
    is_one_letter(text).then_some("holds one character again and again, as a secret for tests may be")
}

/// Whether the text has the form of the vendor's keys and secrets, 24 letters and digits. The vendor's older SDKs
/// accept nothing else (`docs/vendor.md`, V6).
fn has_vendor_form(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether the text is a variable's name as shells and `.env` files allow it.
pub(super) fn is_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().all(letter) && text.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

/// Whether the text is `%NAME%`, a variable of the Windows command line.
fn is_windows_variable(text: &str) -> bool {
    text.strip_prefix('%').and_then(|text| text.strip_suffix('%')).is_some_and(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_told_from_secrets() {
        for text in [
            "${SHOP_SECRET}",
            "$SHOP_SECRET",
            "${file:shop}",
            "$(cat secret)",
            "%SHOP_SECRET%",
            "{{ shop_secret }}",
            "prefix-{{.Values.secret}}",
            "<%= secret %>",
            "#{secret}",
            "<secret>",
            "<your master secret>",
            "<no value>",
            "changeme",
            "CHANGE-ME",
            "change_me_please",
            "replace-me",
            "ReplaceMe",
            "REPLACE_WITH_SECRET",
            "your-secret",
            "YOUR_MASTER_SECRET",
            "your-secret-here",
            "\"changeme\"",
            " ${X} ",
            "SECRET=${X}",
            "SECRET=changeme",
            "xxx",
            "xxxxxxxxxxxxxxxxxxxxxxxx",
            "************",
            "000000",
            "...",
            "todo",
            "TBD",
            "placeholder",
            "null",
            "None",
            "undefined",
            "master_secret",
            "vault:secret/data/shop#key",
            "op://vault/shop/secret",
        ] {
            assert!(placeholder(text).is_some(), "{text}");
        }
        for text in [
            "5e987ac6d2e04d95a9d8f0d1",
            "hunter2-from-file",
            "odd/secret+of=market&26 1",
            "$1$abc$xyz",
            "a<b>c",
            "{abc}",
            "yourself",
            "x",
            "xx",
            "100%",
            "secret7",
            "p$ssw{rd}",
            "nextSecretOfShop20261122",
            "000000000000000000000000",
            "aaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(placeholder(text), None, "{text}");
        }
    }

    #[test]
    fn slips_are_warned_of() {
        let rows = [
            ("5e987ac6d2e04d95a9d8f0d1", None),
            (" 5e987ac6d2e04d95a9d8f0d1", Some("blanks")),
            ("5e987ac6d2e04d95a9d8f0d1\u{a0}", Some("blanks")),
            ("\"5e987ac6d2e04d95a9d8f0d1\"", Some("quotes")),
            ("'5e987ac6d2e04d95a9d8f0d1'", Some("quotes")),
            ("SHOP_SECRET=5e987ac6d2e04d95a9d8f0d1", Some("NAME=value")),
            ("5e987ac6d2e04d95a9d8f0d", Some("24")),
            ("5e987ac6d2e04d95a9d8f0d11", Some("24")),
            ("000000000000000000000000", Some("again and again")),
            ("5e987ac6-2e04-d95a9d8f0d", Some("24")),
            ("odd/secret+of=market&26 1", Some("24")),
            ("AAAAAAAAAAAAAAAAAAAAAAA=", Some("24")),
        ];
        for (text, expected) in rows {
            let said = slip(text);
            assert_eq!(said.is_some(), expected.is_some(), "{text}: {said:?}");
            assert!(said.unwrap_or_default().contains(expected.unwrap_or_default()), "{text}: {said:?}");
        }
    }
}
