//! Property tests: laws that hold for every body.

use proptest::prelude::*;

use super::*;

const RULES: [BodyRule; 13] = [
    BodyRule::None,
    BodyRule::Json,
    BodyRule::Push,
    BodyRule::GroupPush,
    BodyRule::FilePush,
    BodyRule::GroupFilePush,
    BodyRule::TemplatePush,
    BodyRule::Schedule,
    BodyRule::TargetList,
    BodyRule::ImageUrls,
    BodyRule::ImageFiles,
    BodyRule::ImageUrlsV4,
    BodyRule::Batch,
];

/// Random bytes mixed with tokens that matter to the parsers.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let tokens: [&[u8]; 14] = [
        b"\r\n--xyz",
        b"--xyz\r\n",
        b"--",
        b"\r\n\r\n",
        b"Content-Disposition: form-data; name=\"filename\"; filename=\"l.txt\"",
        b"Content-Disposition: form-data; name=\"oppo_file\"",
        b"{\"audience\":",
        b"\"all\"",
        b"\"file\":{",
        b"}",
        b",",
        b"\x89PNG\r\n\x1a\n",
        b"\xFF\xD8\xFF",
        b"\xEF\xBB\xBF",
    ];
    let tokens = prop::sample::select(tokens.to_vec());
    let piece = prop_oneof![tokens.prop_map(<[u8]>::to_vec), proptest::collection::vec(any::<u8>(), 0..20)];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// A target list with long lines, blanks, CRs, characters of every width and malformed ones.
fn lists() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => "[a-z ]{0,45}".prop_map(String::into_bytes),
        4 => "[张é𝄞\u{3000}\t]{0,15}".prop_map(String::into_bytes),
        8 => Just(b"\n".to_vec()),
        2 => Just(b"\r\n".to_vec()),
        1 => Just(b"\r".to_vec()),
        1 => Just(b"\xEF\xBB\xBF".to_vec()),
    ];
    let broken = prop_oneof![9 => Just(Vec::new()), 1 => proptest::collection::vec(any::<u8>(), 0..3)];
    (proptest::collection::vec(piece, 0..40), broken, 0..40_usize).prop_map(|(mut pieces, broken, at)| {
        pieces.insert(at.min(pieces.len()), broken);
        pieces.concat()
    })
}

fn scan(chunks: &[&[u8]]) -> TargetSummary {
    let mut scan = TargetScan::new(&FILES);
    for chunk in chunks {
        scan.push(chunk);
    }
    scan.finish()
}

/// A simple reader of target lists to compare with.
fn plain(list: &[u8]) -> (Option<usize>, Vec<u64>) {
    let (text, broken) = match std::str::from_utf8(list) {
        Ok(text) => (text, None),
        Err(error) => (std::str::from_utf8(&list[..error.valid_up_to()]).unwrap(), Some(error.valid_up_to())),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let blank = |character: char| character <= ' ' || character.is_whitespace();
    let long = |line: &str| line.split('\r').any(|value| value.trim_matches(blank).len() > 40);
    let numbered = (1..).zip(text.split('\n'));
    (broken, numbered.filter(|(_, line)| long(line)).map(|(number, _)| number).collect())
}

/// A client's way of writing a form.
#[derive(Clone, Copy, Debug)]
struct Style {
    list_first: bool,
    closing_boundary: bool,
    leading_crlf: bool,
}

/// A form of well-formed parts.
fn form_of(list: &str, ttl: u32, name: &str, style: Style) -> Vec<u8> {
    let list = format!(
        "--xyz\r\nContent-Disposition: form-data; name=\"filename\"; filename=\"{name}.txt\"\r\n\r\n{list}\r\n"
    );
    let ttl = format!("--xyz\r\nContent-Disposition: form-data; name=\"ttl\"\r\n\r\n{ttl}\r\n");
    let start = if style.leading_crlf { "\r\n" } else { "" };
    let end = if style.closing_boundary { "--xyz--\r\n" } else { "" };
    let parts = if style.list_first { [list, ttl] } else { [ttl, list] };
    format!("{start}{}{end}", parts.concat()).into_bytes()
}

fn push_of(tags: &[String], aliases: &[String]) -> serde_json::Value {
    serde_json::json!({
        "platform": ["android", "ios"],
        "audience": { "tag": tags, "alias": aliases },
        "notification": { "alert": "x", "ios": { "badge": "+1" } },
        "cid": format!("{APP_KEY}-{UUID}"),
    })
}

/// Positions at which a body is cut, in order.
fn cuts_of(body: &[u8], cuts: &[prop::sample::Index]) -> Vec<usize> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
    ends.sort_unstable();
    ends
}

proptest! {
    #[test]
    fn forms_are_judged_alike_however_they_arrive(
        list in lists(),
        noise in bodies(),
        noise_at in 0..4_usize,
        style in any::<(bool, bool, bool)>(),
        ttl in prop_oneof![9 => Just(1), 1 => Just(0)],
        line_bytes in prop_oneof![8 => Just(40), 1 => 1..200_usize],
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 1..8),
    ) {
        let (list_first, closing_boundary, leading_crlf) = style;
        let style = Style { list_first, closing_boundary, leading_crlf };
        let list = String::from_utf8_lossy(&list);
        let form = form_of(&list, ttl, "l", style);
        let body = match noise_at {
            0 => [&form[..], &noise].concat(),
            1 => [&noise[..], &form].concat(),
            2 => noise,
            _ => form,
        };
        for rule in [BodyRule::TargetList, BodyRule::ImageFiles, BodyRule::Push] {
            let mut request = Request::new(rule);
            request.files.line_bytes = line_bytes;
            let whole = request.check(&body);
            prop_assert_eq!(&request.check_arriving(&body, &cuts_of(&body, &cuts)), &whole);
            let bytes: Vec<_> = (1..=body.len()).collect();
            prop_assert_eq!(&request.check_arriving(&body, &bytes), &whole);
        }
    }

    #[test]
    fn long_lists_are_judged_alike_however_they_arrive(
        lines in proptest::collection::vec(prop_oneof![1000 => 0..41_usize, 1 => 41..60_usize], 1500..4000),
        broken in prop_oneof![Just(None), any::<prop::sample::Index>().prop_map(Some)],
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 1..8),
    ) {
        // The body is long enough for several pieces.
        let list: String = lines.iter().map(|&bytes| "x".repeat(bytes) + "\n").collect();
        let style = Style { list_first: true, closing_boundary: true, leading_crlf: false };
        let mut body = form_of(&list, 1, "l", style);
        if let Some(at) = broken {
            let at = at.index(body.len());
            body[at] = 0xFF;
        }
        let upload = Request::new(BodyRule::TargetList);
        prop_assert_eq!(upload.check_arriving(&body, &cuts_of(&body, &cuts)), upload.check(&body));
    }

    #[test]
    fn any_bytes_get_a_verdict(body in bodies(), encrypted: bool, put: bool) {
        for rule in RULES {
            let mut request = if put { Request::update(rule, "alias") } else { Request::new(rule) };
            request.encrypted = encrypted;
            match request.check(&body) {
                Ok(_) => {}
                Err(defect) => {
                    prop_assert!(!encrypted || !matches!(rule, BodyRule::Push | BodyRule::GroupPush));
                    prop_assert!(defect.message.len() < 300, "{}", defect.message);
                }
            }
        }
    }

    #[test]
    fn lists_are_judged_alike_however_they_are_cut(
        list in lists(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(list.len() + 1)).chain([0, list.len()]).collect();
        ends.sort_unstable();
        let chunks: Vec<_> = ends.windows(2).map(|ends| &list[ends[0]..ends[1]]).collect();
        let whole = scan(&[&list]);
        prop_assert_eq!(&scan(&chunks), &whole);
        let bytes: Vec<_> = list.chunks(1).collect();
        prop_assert_eq!(&scan(&bytes), &whole);

        let (broken, bad) = plain(&list);
        prop_assert_eq!(whole.broken.map(|broken| broken.offset), broken.map(|offset| offset as u64));
        prop_assert_eq!(whole.bad_lines, bad.len() as u64);
        let numbers: Vec<_> = whole.bad.iter().map(|line| line.number).collect();
        prop_assert_eq!(&numbers[..], &bad[..bad.len().min(20)]);
    }

    #[test]
    fn long_lists_are_judged_like_their_lines(lines in proptest::collection::vec(0..42_usize, 1..4000)) {
        // The body is long enough for several pieces.
        let list: String = lines.iter().map(|&bytes| "x".repeat(bytes) + "\n").collect();
        let summary = scan(&[list.as_bytes()]);
        prop_assert_eq!(summary.lines, lines.len() as u64);
        prop_assert_eq!(summary.bad_lines, lines.iter().filter(|&&bytes| bytes > 40).count() as u64);
    }

    #[test]
    fn good_lists_pass_and_one_fault_is_named(
        values in proptest::collection::vec("[a-z0-9_]{1,40}|[\u{4e00}-\u{9fff}]{1,13}", 1..50),
        ttl in 1..=720_u32,
        name in "[a-z \u{4e00}-\u{9fff}]{0,10}",
        (list_first, closing_boundary, leading_crlf) in any::<(bool, bool, bool)>(),
    ) {
        let upload = Request::new(BodyRule::TargetList);
        let style = Style { list_first, closing_boundary, leading_crlf };
        let list = values.join("\r\n");
        let form = |list: &str, ttl, name: &str| form_of(list, ttl, name, style);
        prop_assert_eq!(upload.check(form(&list, ttl, &name)), Ok(Facts::default()));
        let rule = |body| upload.check(body).map_err(|defect| defect.rule);
        prop_assert_eq!(rule(form(&format!("{list}\n{}", "y".repeat(41)), ttl, &name)), Err(Rule::ListLine));
        prop_assert_eq!(rule(form("", ttl, &name)), if list_first || closing_boundary { Err(Rule::ListEmpty) } else { Err(Rule::ListBlank) });
        prop_assert_eq!(rule(form(&list, ttl + 720, &name)), Err(Rule::Ttl));
        prop_assert_eq!(rule(form(&list, ttl, &(name.clone() + ".txt.csv\"; x=\""))), Err(Rule::ListName));
    }

    #[test]
    fn good_pushes_pass_and_one_fault_is_named(
        tags in proptest::collection::vec("[^\u{0}]{0,10}", 0..=20),
        aliases in proptest::collection::vec("[ -~]{1,40}", 0..=30),
        at in any::<prop::sample::Index>(),
        pretty: bool,
    ) {
        let good = push_of(&tags, &aliases);
        let request = Request::new(BodyRule::Push);
        let write = |push: &serde_json::Value| {
            if pretty { serde_json::to_string_pretty(push) } else { serde_json::to_string(push) }.unwrap()
        };
        let named = tags.iter().chain(&aliases).any(|value| !value.trim().is_empty());
        let reach = if named { Reach::Named } else { Reach::Open };
        let facts = Facts { has_cid: true, names_cid: true, reach, ..Facts::default() };
        prop_assert_eq!(request.check(write(&good)), Ok(facts));
        let faults: [(&str, serde_json::Value, Rule); 5] = [
            ("/platform", serde_json::Value::Null, Rule::PlatformMissing),
            ("/audience", serde_json::Value::Null, Rule::AudienceMissing),
            ("/audience/tag", vec!["x"; 21].into(), Rule::AudienceCount),
            ("/audience/alias", vec!["x".repeat(41)].into(), Rule::AudienceValueLength),
            ("/cid", "x".into(), Rule::Cid),
        ];
        let (path, value, rule) = &faults[at.index(faults.len())];
        let mut bad = good.clone();
        *bad.pointer_mut(path).unwrap() = value.clone();
        prop_assert_eq!(request.check(write(&bad)).map_err(|defect| defect.rule), Err(*rule));
        let mut broadcast = good;
        broadcast["audience"] = "all".into();
        prop_assert_eq!(request.check(write(&broadcast)).unwrap().reach, Reach::Everybody);
    }

    #[test]
    fn forms_agree_with_multer(contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..6)) {
        let mut body = Vec::new();
        for (number, content) in contents.iter().enumerate() {
            body.extend_from_slice(format!("--xyz\r\nContent-Disposition: form-data; name=\"p{number}\"\r\n\r\n").as_bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--xyz--\r\n");
        let form = form::Form::parse(Some(FORM), &body, None).unwrap();
        let stream = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(bytes::Bytes::from(body.clone()))]);
        let mut oracle = multer::Multipart::new(stream, "xyz");
        let mut read = 0;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        while let Some(field) = runtime.block_on(oracle.next_field()).unwrap() {
            let name = field.name().unwrap().to_owned();
            let content = runtime.block_on(field.bytes()).unwrap();
            prop_assert_eq!(form.part(&name).unwrap().unwrap().content, &content[..]);
            read += 1;
        }
        prop_assert_eq!(read, contents.len());
    }
}
