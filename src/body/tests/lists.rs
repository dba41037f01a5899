use super::*;

fn form(list: impl AsRef<[u8]>) -> Vec<u8> {
    let head = b"--xyz\r\nContent-Disposition: form-data; name=\"filename\"; filename=\"l.txt\"\r\n\r\n";
    [&head[..], list.as_ref(), b"\r\n--xyz--\r\n"].concat()
}

fn with_ttl(ttl: &str) -> Vec<u8> {
    let part = format!("--xyz\r\nContent-Disposition: form-data; name=\"ttl\"\r\n\r\n{ttl}\r\n");
    [part.as_bytes(), &form("a")].concat()
}

fn upload() -> Request {
    Request::new(BodyRule::TargetList)
}

#[test]
fn types_of_lists() {
    Request { value: Some("registration_id"), ..upload() }.passes(form("a"));
    for value in [None, Some(""), Some("tag"), Some("Alias"), Some("alias%20")] {
        Request { value, ..upload() }.refuses(form("a"), Rule::ListType, 1103);
    }
}

#[test]
fn lists_that_pass() {
    let forty = "a".repeat(40);
    let lists = [
        "a".to_owned(),
        "a\n".into(),
        "a\r\nb\r\n\r\n".into(),
        "\u{feff}a\n".into(),
        format!("\u{feff}{forty}\n{forty}\r\n"),
        format!("{} {forty} \t\r\n", " ".repeat(100)),
        format!("\u{3000}{forty}\u{3000}\n"),
        format!("\0{forty}\u{1f}\n"),
        "张".repeat(13) + "\n",
        // A lone CR may end a line.
        format!("{forty}\r{forty}"),
        "\n\n\n a".into(),
        "\u{3000}".into(),
    ];
    for list in lists {
        upload().passes(form(&list));
    }
}

#[test]
fn lines_on_both_sides_of_their_limit() {
    for (line, bytes) in [("a".repeat(41), 41), ("张".repeat(14), 42), (format!("a{}b", " ".repeat(40)), 42)]
    {
        for (list, number, bad, lines) in [
            (line.clone(), 1, 1, 1),
            (format!("\u{feff}{line}\r\n"), 1, 1, 1),
            (format!("a\r\n\r\n  {line}  \r\nb\n{line}"), 3, 2, 5),
            (format!("{}{line}\n", "a\n".repeat(200_000)), 200_001, 1, 200_001),
        ] {
            let message = upload().refuses(form(&list), Rule::ListLine, 1103);
            let expected = format!(
                "line {number} of the target list has {bytes} bytes; up to 40 pass ({bad} of {lines} lines are too long)"
            );
            assert_eq!(message, expected);
        }
    }
    let wide = Request { files: Files { line_bytes: 100, ..FILES }, ..upload() };
    wide.passes(form("a".repeat(100)));
    wide.refuses(form("a".repeat(101)), Rule::ListLine, 1103);
}

#[test]
fn lists_that_are_none() {
    upload().refuses(form(""), Rule::ListEmpty, 1103);
    for list in ["\n", " \t\r\n\r\n", "\u{feff}", "\u{feff}\n", "\0"] {
        upload().refuses(form(list), Rule::ListBlank, 1103);
    }
    let small = Request { files: Files { max_bytes: 10, ..FILES }, ..upload() };
    small.passes(form("123456789\n"));
    let message = small.refuses(form("123456789\n\n"), Rule::ListSize, 1103);
    assert!(message.contains("11 bytes; up to 10"), "{message}");
}

#[test]
fn lists_are_utf8() {
    for (list, line, offset) in [
        (&b"a\nb\xFF\n"[..], 2, 3),
        (b"a\n\xE5\xBC", 2, 2),
        (b"\xFF\xFEa\0", 1, 0),
        (b"\xD5\xC5\xC8\xFD\n", 1, 0),
        (b"a\n\xED\xA0\x80", 2, 2),
    ] {
        let message = upload().refuses(form(list), Rule::ListEncoding, 1103);
        assert!(message.starts_with(&format!("line {line} of")), "{message}");
        assert!(message.contains(&format!("(byte {offset} of")), "{message}");
    }
}

#[test]
fn names_can_be_reported_only() {
    let body = String::from_utf8(form("a")).unwrap().replace("l.txt", "l.csv");
    upload().refuses(&body, Rule::ListName, 1103);
    let report = Request { files: Files { txt: Mode::Report, ..FILES }, ..upload() };
    assert_eq!(report.passes(&body).reported, Some(Rule::ListName));
    assert_eq!(report.passes(form("a")).reported, None);
}

#[test]
fn ttls() {
    for ttl in ["1", "720", " 24\r\n", "007"] {
        upload().passes(with_ttl(ttl));
    }
    for ttl in ["0", "721", "", "-1", "1.5", "1h", "99999999999999999999"] {
        upload().refuses(with_ttl(ttl), Rule::Ttl, 1103);
    }
}

#[test]
fn only_the_first_bad_lines_are_kept() {
    let list = format!("{}\n", "a".repeat(41)).repeat(50);
    let mut scan = TargetScan::new(&FILES);
    scan.push(list.as_bytes());
    let summary = scan.finish();
    assert_eq!((summary.bad_lines, summary.lines, summary.bytes), (50, 50, 2100));
    let numbers: Vec<_> = summary.bad.iter().map(|line| line.number).collect();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
}

#[test]
fn a_mark_alone_is_blank_also_where_its_line_was_looked_at_before() {
    let mut upload = Request::new(BodyRule::TargetList);
    // Leaves room for the part's head, so that the good lines start before the list.
    upload.files.line_bytes = 200;
    let body = |list: &str| {
        format!(
            "--xyz\r\nContent-Disposition: form-data; name=\"filename\"; filename=\"l.txt\"\r\n\r\n{list}\r\n--xyz--\r\n"
        )
    };
    for (list, blank) in [("\u{feff}\n \n", true), ("\u{feff}\nanna\n", false), ("\n\u{feff}\n", false)] {
        let body = body(list);
        let verdict = upload.check_arriving(body.as_bytes(), &[body.len()]);
        assert_eq!(verdict.map_err(|defect| defect.rule).err(), blank.then_some(Rule::ListBlank), "{list:?}");
    }
}
