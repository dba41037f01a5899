//! Reads digests of tokens, those of callers and that of the operators.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::reader::ConfigValue;
use crate::secret::TokenDigest;

/// Tokens that an attacker tries first. The empty one is the result of a variable that is not set.
const COMMON_WORDS: &[&str] = &[
    "",
    "000000",
    "111111",
    "123",
    "123123",
    "1234",
    "12345",
    "123456",
    "12345678",
    "123456789",
    "1234567890",
    "abc",
    "abc123",
    "abcdef",
    "admin",
    "apikey",
    "change-me",
    "changeit",
    "changeme",
    "default",
    "demo",
    "dev",
    "example",
    "foo",
    "foobar",
    "guest",
    "hello",
    "jiguang",
    "jpush",
    "key",
    "letmein",
    "master",
    "none",
    "null",
    "password",
    "password1",
    "placeholder",
    "push",
    "qwerty",
    "replace-me",
    "replaceme",
    "root",
    "secret",
    "system",
    "test",
    "test123",
    "testing",
    "todo",
    "token",
    "user",
    "welcome",
    "xxx",
];

/// Digests of the common words by their prefix, with and without a line break: `echo word | sha256sum` adds one. They are
/// made once, because a configuration can have a hundred thousand tokens.
static COMMON: LazyLock<HashMap<u64, TokenDigest>> = LazyLock::new(|| {
    let texts = COMMON_WORDS.iter().flat_map(|word| [(*word).to_owned(), format!("{word}\n")]);
    texts.map(|text| TokenDigest::of(text.as_bytes())).map(|digest| (digest.prefix(), digest)).collect()
});

/// Reads the digest of a token. The digest of an empty or common word is a fault.
pub(super) fn read(value: &ConfigValue<'_>) -> Option<TokenDigest> {
    let Some(digest) = TokenDigest::from_hex(value.text()?) else {
        return value.refuse("expected the 64 hexadecimal digits that `jpush-gateway token new` prints");
    };
    if COMMON.get(&digest.prefix()).is_some_and(|known| known.matches(&digest)) {
        return value.refuse("the token is empty or a common word; make one with `jpush-gateway token new`");
    }
    Some(digest)
}
