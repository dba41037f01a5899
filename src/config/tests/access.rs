//! Tests of faults of base URLs, secrets, tenants and callers.

use super::*;

#[test]
fn base_urls() {
    let rows = [
        ("http://api.jpush.cn", "http:// would send secrets in plain text…"),
        ("http://127.0.0.1.example", "http:// would send…"),
        ("http://128.0.0.1", "http:// would send…"),
        ("https://user:hunter2-from-file@host", "a user or a password has no place here"),
        ("https://host/v3", "it ends with the…"),
        ("https://host//", "it ends with the…"),
        ("https://host?q", "it ends with the…"),
        ("https://host#f", "it ends with the…"),
        ("HTTPS://host", "expected https://host…"),
        ("ftp://host", "expected https://host…"),
        ("host", "expected https://host…"),
        ("https://", "the host is neither…"),
        ("https://:80", "the host is neither…"),
        ("https://host:", "the port is not a number…"),
        ("https://host:0", "the port is not a number…"),
        ("https://host:65536", "the port is not a number…"),
        ("https://host:+80", "the port is not a number…"),
        ("https://[::1]x", "the port is not a number…"),
        ("https://[::g]", "not an IPv6 address…"),
        ("https://::1", "the port is not a number…"),
        ("https://2130706433", "the host is neither…"),
        ("https://127.1", "the host is neither…"),
        ("https://0x7f000001", "the host is neither…"),
        ("https://ho st", "the host is neither…"),
        ("https://a..b", "the host is neither…"),
        ("https://推送.example", "the host is neither…"),
    ];
    for (url, expected) in rows {
        check(&[(top(&format!("vendor: {{ api: '{url}' }}")), &*format!("vendor.api: {expected}"))]);
        let tenant = tenant(&format!(", vendor: {{ image_v4: '{url}' }}"));
        check(&[(tenant, &*format!("tenants.shop.vendor.image_v4: {expected}"))]);
    }
}

#[test]
fn secrets() {
    let control = "tenants.shop.dev.secret: the secret contains control characters…";
    let forms = "tenants.shop.dev.secret: expected one of { env: NAME }, { file: PATH }, { value: TEXT }";
    let rows = [
        ("{ env: EMPTY }", "tenants.shop.dev.secret: the secret is empty; it comes from the variable EMPTY"),
        (
            "{ env: NEWLINES }",
            "tenants.shop.dev.secret: the secret is empty; it comes from the variable NEWLINES",
        ),
        ("{ env: TWO_LINES }", control),
        ("{ env: TAB }", control),
        ("{ env: NOWHERE }", "tenants.shop.dev.secret: the variable NOWHERE is not set"),
        ("{ env: a5e987ac6d2e04d95a9d8f0d1 }", "tenants.shop.dev.secret: the variable is not set"),
        ("{ env: '' }", "tenants.shop.dev.secret.env: empty"),
        (
            "{ file: /run/nowhere }",
            "tenants.shop.dev.secret: the file \"/run/nowhere\" cannot be read: entity not found",
        ),
        (
            "{ file: run/nowhere }",
            "tenants.shop.dev.secret: the file \"/etc/gateway/run/nowhere\" cannot be read: entity not found",
        ),
        (
            "{ file: 5e987ac6d2e04d95a9d8f0d1 }",
            "tenants.shop.dev.secret: the file cannot be read: entity not found",
        ),
        ("{ env: shop_secret }", "tenants.shop.dev.secret: the variable shop_secret is not set"),
        ("{ env: '${OTHER_SECRET}' }", "tenants.shop.dev.secret: env takes the name of a variable alone…"),
        (
            "{ file: /run/blank }",
            "tenants.shop.dev.secret: the secret is empty; it comes from the file \"/run/blank\"",
        ),
        ("{ file: /run/binary }", "tenants.shop.dev.secret: the file \"/run/binary\" is not UTF-8"),
        (
            "{ file: /run/wide }",
            "tenants.shop.dev.secret: the file \"/run/wide\" is UTF-16; save it as UTF-8",
        ),
        ("{ file: /run/marked }", control),
        ("{ file: /run/large }", "tenants.shop.dev.secret: the file \"/run/large\" is larger than 64 KiB"),
        ("{ value: '' }", "tenants.shop.dev.secret.value: empty"),
        ("{ value: \"\\n\" }", "tenants.shop.dev.secret: the secret is empty"),
        ("{ value: \"a\\0b\" }", control),
        (
            "{ value: 123456789012345678901234 }",
            "tenants.shop.dev.secret.value: expected a text; write it in quotes",
        ),
        ("{ value: [ 5e987ac6d2e04d95a9d8f0d1 ] }", "tenants.shop.dev.secret.value: expected a text"),
        ("5e987ac6d2e04d95a9d8f0d1", forms),
        ("[ 5e987ac6d2e04d95a9d8f0d1 ]", forms),
        ("{}", forms),
        ("{ env: OTHER_SECRET, value: 5e987ac6d2e04d95a9d8f0d1 }", forms),
        ("null", "tenants.shop.dev.secret: missing"),
    ];
    check(&rows.map(|(secret, expected)| {
        (tenant(&format!(", dev: {{ key: devkey, secret: {secret} }}")), expected)
    }));
    let forgotten_colon = bad(&tenant(", dev: { key: devkey, secret: { 5e987ac6d2e04d95a9d8f0d1 } }"));
    assert_eq!(forgotten_colon.lines().count(), 2, "{forgotten_colon}");
}

/// A placeholder in place of a secret is a fault, and a probable slip is a warning.
#[test]
fn secrets_that_nobody_filled_in() {
    let dev = |key: &str, secret: &str| tenant(&format!(", dev: {{ key: {key}, secret: {secret} }}"));
    let key = "115cc609860982ede0e3bdd4";
    let rows = [
        ("{ env: TEMPLATE }", "the variable TEMPLATE holds a template that was not filled in…"),
        ("{ env: UNEXPANDED }", "the variable UNEXPANDED holds the name of a variable…"),
        ("{ env: CHANGE_ME }", "the variable CHANGE_ME holds a placeholder in place of a secret"),
        ("{ file: /run/replace }", "the file \"/run/replace\" holds a placeholder in place of a secret"),
        ("{ value: <secret> }", "the secret holds a placeholder in angle brackets in place of a secret"),
    ];
    for (secret, expected) in rows {
        check(&[(dev(key, secret), &*format!("tenants.shop.dev.secret: {expected}"))]);
    }
    check(&[
        (dev("'{{ key }}'", "{ env: OTHER_SECRET }"), "tenants.shop.dev.key: this is a template…"),
        (dev("your-dev-key", "{ env: OTHER_SECRET }"), "tenants.shop.dev.key: this is a placeholder…"),
    ]);
    let rows = [
        ("{ env: BLANKS }", "the variable BLANKS has blanks around the secret"),
        ("{ env: QUOTES }", "the variable QUOTES has quotes around the secret"),
        ("{ env: LINE }", "the variable LINE holds NAME=value"),
        ("{ file: /run/secret }", "the file \"/run/secret\" holds no 24 letters and digits"),
    ];
    for (secret, expected) in rows {
        let config = good(&dev(key, secret));
        let warned: Vec<_> =
            config.warnings.iter().filter(|warning| warning.starts_with("tenants.shop.dev")).collect();
        assert!(warned.len() == 1 && warned[0].contains(expected), "{secret}: {warned:?}");
        assert!(SECRETS.iter().all(|secret| !warned[0].contains(secret)), "{warned:?}");
    }
    let config = good(&dev("devkey", "{ env: SHOP_MASTER_SECRET }"));
    let expected =
        "tenants.shop.dev.key: the key is not 24 letters and digits, as those of the vendor are (line 3)";
    assert!(config.warnings.iter().any(|warning| warning == expected), "{:?}", config.warnings);
}

#[test]
fn tenants() {
    let secret = "secret: { env: SHOP_MASTER_SECRET }";
    let second = |fields: &str| {
        let fields =
            fields.replace("SECRET", secret).replace("APP", &format!("app: {{ key: b1, {secret} }}"));
        text(Extra { tenants: &format!(", b: {{ {fields} }}"), ..Extra::default() })
    };
    let same = "app.key: the same key at tenants.shop.app.key has";
    let rows = [
        (
            "app: { key: appkey, secret: { env: OTHER } }".replace("OTHER", "OTHER_S"),
            "app.secret: the variable OTHER_S…".to_owned(),
        ),
        ("app: { key: appkey, secret: { file: secret } }".to_owned(), format!("{same} another secret")),
        (
            "app: { key: appkey, SECRET }, budgets: { file: { limit: 21 } }".to_owned(),
            format!("{same} other budgets"),
        ),
        (
            "app: { key: appkey, SECRET }, vendor: { device: 'https://x' }".to_owned(),
            format!("{same} other base URLs"),
        ),
    ];
    for (fields, expected) in rows {
        check(&[(second(&fields), &*format!("tenants.b.{expected}"))]);
    }
    let rows = [
        (
            "APP, dev: { key: appkey, SECRET }",
            "dev.key: the same key at tenants.shop.app.key is another kind of key",
        ),
        (
            "APP, dev: { key: b1, SECRET }",
            "dev.key: the same key at tenants.b.app.key is another kind of key",
        ),
        (
            "APP, group: { key: group-x, SECRET }",
            "group.key: written without group-; only a group key is sent with it",
        ),
        (
            "app: { key: 'b:1', SECRET }",
            "app.key: expected a key of visible ASCII characters without a colon",
        ),
        ("app: { SECRET }", "app.key: missing"),
        ("app: { key: b1 }", "app.secret: missing"),
        ("app: b1", "app: expected a section"),
        ("dev: null", "app: missing"),
        ("APP, region: peking", "region: expected one of: default, beijing; \"peking\" is none of them"),
        ("APP, budgets: { broadcast: { window: 24h } }", "budgets.broadcast.limit: missing"),
        ("APP, budgets: { push: { limit: 0 } }", "budgets.push.limit: 0 is not within 1 and 4294967295"),
        ("APP, vendor: { ca: x }", "vendor.ca: unknown key"),
    ];
    for (fields, expected) in rows {
        check(&[(second(fields), &*format!("tenants.b.{expected}"))]);
    }
    check(&[(
        second(&format!("app: {{ key: {}, SECRET }}", "k1".repeat(65))),
        "tenants.b.app.key: expected a key…",
    )]);
}

#[test]
fn names_of_tenants() {
    let named = |name: &str, group: &str| {
        let secret = "secret: { env: SHOP_MASTER_SECRET }";
        let tenants =
            format!(", {name}: {{ app: {{ key: b1, {secret} }}, group: {{ key: {group}, {secret} }} }}");
        text(Extra { tenants: &tenants, ..Extra::default() })
    };
    check(&[
        (
            named("-b", "g"),
            "tenants.-b: a tenant's name is 1 to 63 of a-z, 0-9 and -, and does not begin with -",
        ),
        (named(&"b".repeat(64), "g"), "tenants.bbb…"),
        (named("''", "g"), "tenants.\"\": a tenant's name is…"),
        (named("b_", "g"), "tenants.b_: a tenant's name is…"),
        (named("b", "shop"), "tenants.shop: the name is also a key; callers could mean either"),
        (named("appkey", "g"), "tenants.appkey: the name is also a key; callers could mean either"),
        (named("b1", "g"), "tenants.b1: the name is also a key; callers could mean either"),
    ]);
    good(&named("0-b", "b1"));
}

#[test]
fn one_key_has_one_region() {
    let regions = text(Extra {
        tenant: ", region: beijing",
        tenants: ", b: { app: { key: appkey, secret: { env: SHOP_MASTER_SECRET } } }",
        ..Extra::default()
    });
    assert_eq!(bad(&regions).lines().count(), 2, "the base URLs differ with the region");
}

#[test]
fn callers() {
    let second = |fields: &str| text(Extra { callers: &format!(", b: {{ {fields} }}"), ..Extra::default() });
    let token = format!("tokens: [ {{ sha256: {OTHER_DIGEST} }} ]");
    let rows = [
        ("tenants: [ shop ], allow: [ push ]", "tokens: missing"),
        ("tokens: [], tenants: [ shop ], allow: [ push ]", "tokens: must not be empty"),
        ("TOKEN, tenants: [ shop ]", "allow: missing"),
        ("TOKEN, allow: [ push ]", "tenants: missing"),
        ("TOKEN, tenants: [ shop, shop ], allow: [ push ]", "tenants[1]: stands twice"),
        ("TOKEN, tenants: [ 5 ], allow: [ push ]", "tenants[0]: expected a text; write it in quotes"),
        ("TOKEN, tenants: [ shop ], allow: [ push, push ]", "allow[1]: stands twice"),
        ("TOKEN, tenants: [ shop ], allow: [ push, '*' ]", "allow[1]: \"*\" stands for every scope…"),
        ("TOKEN, tenants: [ shop ], allow: '*'", "allow: expected a list"),
        ("TOKEN, tenants: [ shop ], allow: []", "allow: must not be empty"),
        ("TOKEN, tenants: [ shop ], allow: [ push ], quota: { limit: 5 }", "quota.window: missing"),
        (
            "TOKEN, tenants: [ shop ], allow: [ push ], quota: { limit: 0, window: 1s }",
            "quota.limit: 0 is not…",
        ),
        (
            "TOKEN, tenants: [ shop ], allow: [ push ], quota: { limit: 5, window: 1s, burst: 6 }",
            "quota: a burst…",
        ),
        ("TOKEN, tenants: [ shop ], allow: [ push ], weight: 1001", "weight: 1001 is not within 1 and 1000"),
        ("TOKEN, tenants: [ shop ], allow: [ push ], broadcast: 1", "broadcast: expected true or false"),
        ("TOKEN, tenants: [ shop ], allow: [ push ], reserve: 5", "reserve: expected…"),
        ("TOKEN, tenants: [ shop ], allow: [ push ], reserve: { push: 0 }", "reserve.push: 0 is not…"),
        (
            "TOKEN, tenants: [ shop ], allow: [ push ], reserve: { pushes: 5 }",
            "reserve.pushes: unknown key; did you mean push?",
        ),
        (
            "TOKEN, tenants: [ shop ], allow: [ push ], reserve: { broadcast: 5 }",
            "reserve.broadcast: none of this caller's tenants has this budget",
        ),
        (
            "TOKEN, tenants: [ shop ], allow: [ push ], reserve: { file: 21 }",
            "reserve.file: 21 calls would be kept for callers, of 20 that the budget has",
        ),
    ];
    for (fields, expected) in rows {
        check(&[(second(&fields.replace("TOKEN", &token)), &*format!("callers.b.{expected}"))]);
    }
}

#[test]
fn reserves_of_all_callers_fit_into_the_budget() {
    let reserves = |first: u32, second: u32| {
        let callers = format!(
            ", b: {{ tokens: [ {{ sha256: {OTHER_DIGEST} }} ], tenants: [ shop ], allow: [ push ], reserve: {{ push: {second} }} }}"
        );
        let caller = format!(", reserve: {{ push: {first}, file: 20 }}");
        text(Extra { caller: &caller, callers: &callers, ..Extra::default() })
    };
    let callers = good(&reserves(400, 200)).callers;
    let calls =
        |number: usize| callers[number].reserve.iter().map(|(name, calls)| (name.as_str(), calls.get()));
    assert_eq!(calls(0).collect::<Vec<_>>(), [("push", 400), ("file", 20)]);
    assert_eq!(calls(1).collect::<Vec<_>>(), [("push", 200)]);
    let over = "callers.b.reserve.push: 601 calls would be kept for callers, of 600 that the budget has";
    check(&[(reserves(400, 201), over)]);
}

#[test]
fn names_of_callers() {
    let token = format!("tokens: [ {{ sha256: {OTHER_DIGEST} }} ]");
    let named = |name: &str| {
        let callers = format!(", {name}: {{ {token}, tenants: [ shop ], allow: [ '*' ] }}");
        text(Extra { callers: &callers, ..Extra::default() })
    };
    check(&[
        (named("b c"), "callers.\"b c\": a caller's name is 1 to 64 of A-Z, a-z, 0-9, dot, _ and -"),
        (named("''"), "callers.\"\": a caller's name…"),
        (named("é"), "callers.\"é\": a caller's name…"),
        (named(&"b".repeat(65)), "callers.\"bbb…"),
    ]);
    good(&named("A.b_c-9"));
    good(&named(&"b".repeat(64)));
}

#[test]
fn one_token_tells_one_caller() {
    let second = |digest: &str| {
        let callers = format!(
            ", b: {{ tokens: [ {{ sha256: {OTHER_DIGEST} }}, {{ sha256: {digest} }} ], tenants: [ shop ], allow: [ push ] }}"
        );
        text(Extra { callers: &callers, ..Extra::default() })
    };
    let same = "callers.b.tokens[1].sha256: the same token stands at callers";
    check(&[
        (second(OTHER_DIGEST), &*format!("{same}.b.tokens[0].sha256; it could not tell who calls")),
        (
            second(&DIGEST.to_uppercase()),
            &*format!("{same}.orders.tokens[0].sha256; it could not tell who calls"),
        ),
    ]);
}

#[test]
fn names_of_certificates() {
    let rows = [
        (caller(", certificates: 5"), "callers.orders.certificates: expected a list"),
        (
            caller(", certificates: [ 5 ]"),
            "callers.orders.certificates[0]: expected a text; write it in quotes",
        ),
        (caller(", certificates: [ '' ]"), "callers.orders.certificates[0]: empty"),
        (caller(", certificates: [ 'two words' ]"), "callers.orders.certificates[0]: expected a URI…"),
        (caller(", certificates: [ ':x' ]"), "callers.orders.certificates[0]: expected a URI…"),
        (caller(", certificates: [ 'spiffe:' ]"), "callers.orders.certificates[0]: expected a URI…"),
        (caller(", certificates: [ 'CN=orders' ]"), "callers.orders.certificates[0]: expected a URI…"),
        (
            caller(", certificates: [ a.corp, b.corp, a.corp ]"),
            "callers.orders.certificates[2]: the same name stands at callers.orders.certificates[0]; it could not tell who calls",
        ),
        (
            caller(
                ", certificates: [ a.corp ] }, b: { certificates: [ a.corp ], tenants: [ shop ], allow: [ push ]",
            ),
            "callers.b.certificates[0]: the same name stands at callers.orders.certificates[0]; it could not tell who calls",
        ),
        (
            caller(" }, b: { certificates: [], tenants: [ shop ], allow: [ push ]"),
            "callers.b.tokens: missing",
        ),
        (
            caller(" }, b: { certificates: [ a.corp ], tokens: [], tenants: [ shop ], allow: [ push ]"),
            "callers.b.tokens: must not be empty",
        ),
    ];
    check(&rows);
    let config = good(&caller(
        ", certificates: [ 'spiffe://corp/a' ] }, b: { certificates: [ a.corp, 'urn:b' ], tenants: [ shop ], allow: [ push ]",
    ));
    let names: Vec<_> =
        config.callers.iter().map(|caller| (caller.tokens.len(), caller.certificates.len())).collect();
    assert_eq!(names, [(1, 1), (0, 2)]);
    assert!(config.warnings.iter().any(|warning| warning.contains("client_ca")), "{:?}", config.warnings);
}

#[test]
fn tokens_of_one_caller() {
    let weak = "callers.orders.tokens[0].sha256: the token is empty or a common word…";
    let word = |word: &str| format!("[ {{ sha256: {} }} ]", TokenDigest::of(word.as_bytes()).to_hex());
    let hex = "callers.orders.tokens[0].sha256: expected the 64 hexadecimal digits…";
    let twice = format!("[ {{ name: '2', sha256: {DIGEST} }}, {{ sha256: {OTHER_DIGEST} }} ]");
    let rows = [
        (word(""), weak),
        (word("\n"), weak),
        (word("password"), weak),
        (word("secret\n"), weak),
        (word("123456"), weak),
        (format!("[ {{ sha256: {} }} ]", &DIGEST[1..]), hex),
        (format!("[ {{ sha256: '{} ' }} ]", &DIGEST[1..]), hex),
        ("[ { sha256: 5 } ]".into(), "callers.orders.tokens[0].sha256: expected a text; write it in quotes"),
        (
            format!("[ {{ sha256: {} }} ]", "1".repeat(64)),
            "callers.orders.tokens[0].sha256: expected a text; write…",
        ),
        ("[ {} ]".into(), "callers.orders.tokens[0].sha256: missing"),
        (format!("[ {DIGEST} ]"), "callers.orders.tokens[0]: expected a section"),
        (twice, "callers.orders.tokens[1]: another token of this caller has this name"),
        (
            format!("[ {{ name: {DIGEST}x, sha256: {DIGEST} }} ]"),
            "callers.orders.tokens[0].name: a token's name is…",
        ),
        (format!("[ {{ name: '', sha256: {DIGEST} }} ]"), "callers.orders.tokens[0].name: empty"),
    ];
    check(&rows.map(|(list, expected)| (tokens(&list), expected)));
}
