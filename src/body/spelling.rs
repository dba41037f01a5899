//! Other spellings of a name or a value that a parser may accept. Whom a push reaches must not depend on which parser the
//! vendor uses.

/// Whether some parser takes `key` for `name`. Go's folds case as Unicode does (`ſ` is an `s`), Java's comparisons
/// without case take `ı` and `İ` for an `i` as well, and fastjson ignores `_` and `-`.
pub(super) fn may_be(key: &str, name: &str) -> bool {
    key.eq_ignore_ascii_case(name) || folded(key).eq(folded(name))
}

fn folded(name: &str) -> impl Iterator<Item = char> {
    name.chars().filter(|letter| !matches!(letter, '_' | '-')).map(fold)
}

fn fold(letter: char) -> char {
    if letter.is_ascii() {
        return letter.to_ascii_lowercase();
    }
    let upper = letter.to_uppercase().next().unwrap_or(letter);
    upper.to_lowercase().next().unwrap_or(upper)
}

/// Whether a usual trim function removes the character: Java's, everything up to the space; Unicode's, white space.
pub(super) fn is_blank(letter: char) -> bool {
    letter <= ' ' || letter.is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_that_some_parser_takes_for_a_name() {
        for (key, name) in [
            ("audience", "audience"),
            ("Audience", "audience"),
            ("aud\u{131}ence", "audience"),
            ("aud\u{130}ence", "audience"),
            ("audi_ence", "audience"),
            ("-audience_", "audience"),
            ("alia\u{17f}", "alias"),
            ("tagAnd", "tag_and"),
            ("registration-id", "registration_id"),
        ] {
            assert!(may_be(key, name), "{key}");
        }
        for (key, name) in [
            ("", "all"),
            ("al", "all"),
            ("alls", "all"),
            ("audience ", "audience"),
            ("audiénce", "audience"),
            ("tag", "tag_and"),
            ("tag_not", "tag_and"),
            ("notification", "audience"),
        ] {
            assert!(!may_be(key, name), "{key}");
        }
    }
}
