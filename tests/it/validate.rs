//! Tests of `validate`: the rules for uploads on a local file, and the exit code.

use std::path::Path;
use std::process::Command;

use crate::support::{Config, Folder, PROGRAM, stderr, stdout};

/// Runs `validate`. Returns its exit code and its output.
fn validate(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String) {
    let command = Command::new(PROGRAM)
        .current_dir(folder.path())
        .arg("validate")
        .args(arguments)
        .output()
        .expect("the program starts");
    let said = stdout(&command) + &stderr(&command);
    (command.status.code(), said)
}

#[test]
fn validate_tells_of_a_list_what_the_gateway_would() {
    let folder = Folder::new();
    let long = "x".repeat(41);
    let many = format!("good\n{}", format!("{long}\n").repeat(23));
    folder.write("good.TXT", format!("\u{feff}anna\r\n  {}  \n\n", "x".repeat(40)));
    folder.write("bad.txt", &many);
    folder.write("good.csv", "anna\n");
    folder.write("empty.txt", "");
    folder.write("blank.txt", " \n\r\n");
    folder.write("latin.txt", b"anna\nb\xE9a\n");
    // Twice the limit, and far more than is read at once; its last line is too long as well.
    folder.write("large.txt", "0123456789abcde\n".repeat(20 * 65536) + &long);
    let (code, said) = validate(&folder, &["targets", "good.TXT"]);
    assert!(code == Some(0) && said.contains("verdict:   good") && said.contains("lines:     3"), "{said}");
    let (code, said) = validate(&folder, &["targets", "bad.txt"]);
    assert_eq!(code, Some(1), "{said}");
    let named = said.lines().filter(|line| line.ends_with(": 41 bytes; up to 40 pass")).count();
    assert_eq!(named, 20, "{said}");
    for words in ["line 2: 41 bytes", "line 21: ", "and 3 more", "bad lines: 23", "verdict:   refused"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    for (file, words) in [
        ("good.csv", "does not end in .txt"),
        ("empty.txt", "is empty"),
        ("blank.txt", "blank lines only"),
        ("latin.txt", "line 2 of the target list is not UTF-8 (byte 6"),
        ("large.txt", "has 20971561 bytes; up to 10485760 pass"),
        ("large.txt", "line 1310721: 41 bytes"),
        ("missing.txt", "missing.txt cannot be read: "),
        (".", "cannot be read: "),
    ] {
        let (code, said) = validate(&folder, &["targets", file]);
        assert_eq!(code, Some(1), "{file}: {said}");
        assert!(said.contains(words), "{words}: {said}");
    }
    let config = Config::new("http://127.0.0.1:1");
    let own = config.yaml().replace("env: SHOP_APP_SECRET", "value: x").replace("file: shop-dev", "value: y");
    folder.write("own.yaml", own + "files: { max: 30MiB, line_bytes: 41, txt: report }\n");
    for file in ["large.txt", "good.csv"] {
        let (code, said) = validate(&folder, &["targets", file, "--config", "own.yaml"]);
        assert!(code == Some(0) && said.contains("warning") == (file == "good.csv"), "{said}");
    }
    for usage in [&["targets"][..], &["targets", "good.TXT", "more"], &["lists", "good.TXT"]] {
        assert_eq!(validate(&folder, usage).0, Some(2));
    }
}

#[test]
fn validate_tells_of_a_picture_what_the_gateway_would() {
    let folder = Folder::new();
    let data = |name: &str| {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/images").join(name))
            .expect("a picture of the corpus")
    };
    let (big, icon) = (data("oppo-big.jpg"), data("oppo-icon.png"));
    let padded = |mut file: Vec<u8>, length| {
        file.resize(length, 0);
        file
    };
    folder.write("heavy.png", padded(icon.clone(), 50 * 1024 + 1));
    folder.write("huge.png", padded(icon.clone(), 5_000_000));
    folder.write("short.png", &icon[..20]);
    folder.write("big.jpg", big);
    folder.write("icon.png", icon);
    folder.write("text.png", "no picture");
    let judge = |file: &str, channel: &str, kind: &str| {
        validate(&folder, &["image", file, "--channel", channel, "--image-type", kind])
    };
    for (file, channel, kind) in [
        ("big.jpg", "oppo", "1"),
        ("icon.png", "oppo", "2"),
        ("icon.png", "xiaomi", "3"),
        ("heavy.png", "xiaomi", "2"),
    ] {
        let (code, said) = judge(file, channel, kind);
        assert!(code == Some(0) && said.contains("verdict:   good"), "{file}: {said}");
    }
    for (file, channel, kind, words) in [
        ("big.jpg", "oppo", "2", "984x369 pixels; 144x144 pass"),
        ("icon.png", "oppo", "1", "984x369 and 876x324 pass"),
        ("icon.png", "oppo", "3", "no small icons"),
        ("heavy.png", "oppo", "2", "51201 bytes; up to 51200 pass"),
        ("huge.png", "xiaomi", "1", "5000000 bytes; up to 2097152 pass"),
        ("short.png", "xiaomi", "1", "breaks off"),
        ("text.png", "xiaomi", "1", "neither PNG nor JPEG"),
        ("missing.png", "oppo", "1", "cannot be read: "),
    ] {
        let (code, said) = judge(file, channel, kind);
        assert_eq!(code, Some(1), "{file}: {said}");
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(judge("icon.png", "huawei", "1").0, Some(2));
    assert_eq!(judge("icon.png", "oppo", "4").0, Some(2));
    assert_eq!(validate(&folder, &["image", "icon.png", "--channel", "oppo"]).0, Some(2));
}
