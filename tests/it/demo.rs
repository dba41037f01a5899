//! Tests of the demo, and of the curl commands on the vendor's pages, sent through it by curl itself.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Folder, PROGRAM, Program, wait_for};

const TOKEN: &str = "demoTokenForLocalUse2026";
const APP: &str = "7d431e42dfa6a6d693ac2d04";

/// The commands as the vendor's pages have them, and the members that the pages document for their answers. Changed are
/// only hosts and credentials, by the test, and ids, because the vendor's are made up: `{file_id}`, `{msgid}`.
const COMMANDS: [(&str, &[&str]); 15] = [
    (
        r#"curl -F "filename=@registration_id.txt" -F "ttl=720" https://api.jpush.cn/v3/files/registration_id -u "115cc609860982ede0e3bdd4:2e2023ade697b989087dcc53""#,
        &["file_id"],
    ),
    (
        r#"curl -X GET -u "7d431e42dfa6a6d693ac2d04:5e987ac6d2e04d95a9d8f0d1" https://api.jpush.cn/v3/files"#,
        &["total_count", "files"],
    ),
    // From here on the app's credential is used, whose list the other commands name.
    (
        r#"curl -F "filename=@registration_id.txt" -F "ttl=720" https://api.jpush.cn/v3/files/registration_id -u "7d431e42dfa6a6d693ac2d04:5e987ac6d2e04d95a9d8f0d1""#,
        &["file_id"],
    ),
    (
        r#"curl  -XGET -u "7d431e42dfa6a6d693ac2d04:5e987ac6d2e04d95a9d8f0d1" https://api.jpush.cn/v3/files/{file_id}"#,
        &["file_id", "type", "create_time", "expire_time", "file_name"],
    ),
    (
        r#"curl --insecure -X POST -v https://api.jpush.cn/v3/grouppush/file -H "Content-Type: application/json" -u "group-e4c938578ee598be517a2243:71d1dc4dae126674ed386b7b" -d '{
    "platform": [
        "android"
    ],
    "audience": {
        "file": {
            "file_id": "9516d30d2c128dd2000e35b6-e4b030ed-6f89-468c-8f3a-41302f88fe44"
        }
    },
    "notification": {
        "android": {
            "alert": "notification content",
            "title": "notification title"
        }
    },
    "message": {
        "msg_content": "message content"
    }
}'"#,
        &["group_msgid", APP],
    ),
    (
        r#"curl -X POST https://api.jpush.cn/v3/push/file -u "7d431e42dfa6a6d693ac2d04:5e987ac6d2e04d95a9d8f0d1" -d '{
    "platform":"all",
    "audience":{
        "file":{"file_id":"004f2b2c3d8fc649fa60ad2c-15563487-577d-4bb0-806b-56f1a19e06c1"}
    },
    "notification":{"alert":"Hello, JPush!"},
    "message":{"msg_content":"Hello, JPush!"},
    "options":{
        "time_to_live":600,
        "apns_production":false
    }
}'"#,
        &["sendno", "msg_id"],
    ),
    (
        r#"curl -X DELETE https://api.jpush.cn/v3/push/{msgid} -H "Content-Type: text/plain" -H "Accept: application/json" -u "7d431e42dfa6a6d693ac2d04:5e987ac6d2e04d95a9d8f0d1""#,
        &[],
    ),
    (
        r#"curl -X DELETE -u "7d431e42dfa6a6d693ac2d04:5e987ac6d2e04d95a9d8f0d1" https://api.jpush.cn/v3/files/{file_id}"#,
        &[],
    ),
    (
        r"curl  --request POST 'https://api.jpush.cn/v3/images/byfiles' --header 'Content-Type: multipart/form-data' --header 'Authorization: Basic MjhhMTBjMDkwNGI1Y2Q2MjJhYWRhZWIxOmU5ZmFhMmM5NzYzZGViZDIwZTdkZTFlYg=='  --form 'xiaomi_file=@/home/user/pictures/test_file1.jpg'  --form 'oppo_file=@/home/user/pictures/test_file2.jpg' --form 'image_type=1'",
        &[
            "media_id",
            "oppo_image_url",
            "xiaomi_image_url",
            "huawei_image_url",
            "honor_image_url",
            "fcm_image_url",
            "jiguang_image_url",
        ],
    ),
    (
        r"curl  --request PUT 'https://api.jpush.cn/v3/images/byfiles/jgmedia-1-6d98e85f-d3a5-412a-bdec-de1b75bd3ad3' --header 'Content-Type: multipart/form-data' --header 'Authorization: Basic MjhhMTBjMDkwNGI1Y2Q2MjJhYWRhZWIxOmU5ZmFhMmM5NzYzZGViZDIwZTdkZTFlYg=='  --form 'xiaomi_file=@/home/user/pictures/test_file1.jpg'  --form 'oppo_file=@/home/user/pictures/test_file2.jpg'",
        &["media_id", "oppo_image_url", "xiaomi_image_url"],
    ),
    (
        r#"curl --request POST 'https://api.jpush.cn/v3/images/byurls' --header 'Content-Type: application/json' --header 'Authorization: Basic MjhhMTBjMDkwNGI1Y2Q2MjJhYWRhZWIxOmU5ZmFhMmM5NzYzZGViZDIwZTdkZTFlYg==' -d '{
    "image_type": 2,
    "image_url": "https://xx.com/xx.jpg",
    "oppo_image_url": "https://xx.com/oppo.jpg",
    "xiaomi_image_url": "https://xx.com/xiaomi.jpg",
    "huawei_image_url": "",
    "honor_image_url": "",
    "fcm_image_url": "",
    "jiguang_image_url": "https://xx.com/jiguang.jpg",
    "hmos_image_url": "https://xx.com/hmos.jpg"
}'"#,
        &["media_id", "oppo_image_url", "jiguang_image_url"],
    ),
    (
        r#"curl --request PUT 'https://api.jpush.cn/v3/images/byurls/jgmedia-2-14b23451-0001-41ce-89d9-987b465122da' --header 'Content-Type: application/json' --header 'Authorization: Basic MjhhMTBjMDkwNGI1Y2Q2MjJhYWRhZWIxOmU5ZmFhMmM5NzYzZGViZDIwZTdkZTFlYg==' -d '{
    "oppo_image_url": "",
    "xiaomi_image_url": "",
    "huawei_image_url": "https://xx.com/new_huawei.jpg",
    "honor_image_url": "https://xx.com/new_honor.jpg",
    "fcm_image_url": "",
    "jiguang_image_url": "http://xx.com/new_jiguang.jpg",
    "hmos_image_url": "https://xx.com/hmos.jpg"
}'"#,
        &["media_id", "huawei_image_url", "jiguang_image_url"],
    ),
    (
        r#"curl --insecure -X GET -v https://api.jpush.cn/v3/push/cid?count=3 -H "Content-Type: application/json" -u "2743204aad6fe2572aa2d8de:e674a3d0fd42a53b9a58121c""#,
        &["cidlist"],
    ),
    (
        r#"curl --insecure -X POST -v https://api.jpush.cn/v3/push/validate -H "Content-Type: application/json" -u "7d431e42dfa6a6d693ac2d04:5e987ac6d2e04d95a9d8f0d1" -d '{
    "platform": "all",
    "audience": "all",
    "notification": {
        "alert": "Hi,JPush !",
        "android": {
            "extras": {
                "android-key1": "android-value1"
            }
        },
        "ios": {
            "sound": "sound.caf",
            "badge": "+1",
            "extras": {
                "ios-key1": "ios-value1"
            }
        }
    }
}'"#,
        &["sendno", "msg_id"],
    ),
    (
        r#"curl https://api.jpush.cn/v3/push/quota -H "Content-Type: text/plain" -H "Accept: application/json" -u "7d431e42dfa6a6d693ac2d04:5e987ac6d2e04d95a9d8f0d1""#,
        &["code", "message", "data"],
    ),
];

/// Runs a command line in a shell, with the installed curl.
fn shell(folder: &Path, line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).current_dir(folder).output().expect("a shell");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Replaces the host and the secret of a command, ids and the folder of pictures, and nothing else.
fn changed(command: &str, gateway: &str, folder: &Path, file_id: &str, msg_id: &str) -> String {
    let mut line = command
        .replace("https://api.jpush.cn", gateway)
        .replace("/home/user/pictures", &folder.display().to_string())
        .replace("{file_id}", file_id)
        .replace("{msgid}", msg_id)
        .replace("2743204aad6fe2572aa2d8de:e674a3d0fd42a53b9a58121c", &format!("{APP}:{TOKEN}"))
        .replace(
            "--header 'Authorization: Basic MjhhMTBjMDkwNGI1Y2Q2MjJhYWRhZWIxOmU5ZmFhMmM5NzYzZGViZDIwZTdkZTFlYg=='",
            &format!("--header 'Authorization: {}'", crate::support::basic(APP, TOKEN)),
        );
    for secret in ["5e987ac6d2e04d95a9d8f0d1", "2e2023ade697b989087dcc53", "71d1dc4dae126674ed386b7b"] {
        line = line.replace(&format!(":{secret}"), &format!(":{TOKEN}"));
    }
    format!("{line} -s -w '\n%{{http_code}}'")
}

fn picture() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    png.extend_from_slice(&984_u32.to_be_bytes());
    png.extend_from_slice(&369_u32.to_be_bytes());
    png.extend_from_slice(&[8, 2, 0, 0, 0, 0, 0, 0, 0]);
    png
}

/// Starts the demo on free ports.
fn start_demo() -> (Program, String) {
    let open = "127.0.0.1:0";
    let mut demo = Program::start(Command::new(PROGRAM).args([
        "demo",
        "--listen",
        open,
        "--admin",
        open,
        "--sandbox",
        open,
    ]));
    wait_for("the demo's welcome", || {
        assert!(demo.runs(), "{}", demo.err());
        demo.out().contains("Access lines follow").then_some(())
    });
    let welcome = demo.out();
    let (_, rest) = welcome.split_once("The gateway is on ").expect("the welcome");
    let gateway = rest.split_once(',').expect("the welcome").0.to_owned();
    (demo, gateway)
}

#[test]
fn the_demo_and_the_vendors_own_commands() {
    if Command::new("curl").arg("--version").output().is_err() {
        return;
    }
    let (mut demo, gateway) = start_demo();
    let folder = Folder::new();
    folder.write("registration_id.txt", "1104a89792e1b1f8f6a\n140fe1da9e9e2e1f3d4\n");
    folder.write("test_file1.jpg", picture());
    folder.write("test_file2.jpg", picture());

    // Every command that it prints can be pasted.
    let welcome = demo.out();
    let printed: Vec<_> = welcome.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert!(printed.iter().filter(|line| line.starts_with("curl ")).count() >= 5, "{welcome}");
    for line in printed {
        let said = shell(folder.path(), line);
        if line.contains("curl -i ") {
            assert!(said.starts_with("HTTP/1.1 200") || said.contains("\nHTTP/1.1 200"), "{line}: {said}");
        }
    }

    let (mut file_id, mut msg_id) = (String::new(), String::new());
    for (command, members) in COMMANDS {
        let line = changed(command, &gateway, folder.path(), &file_id, &msg_id);
        let said = shell(folder.path(), &line);
        let (body, status) = said.rsplit_once('\n').expect("a status behind the body");
        assert_eq!(status, "200", "{line}: {body}");
        let json: Value =
            if body.is_empty() { Value::Null } else { serde_json::from_str(body).expect("JSON") };
        for member in members {
            assert!(json.get(member).is_some(), "no {member} in the answer to {command}: {body}");
        }
        if let Some(id) = json["file_id"].as_str() {
            id.clone_into(&mut file_id);
        }
        if let Some(id) = json["msg_id"].as_str() {
            id.clone_into(&mut msg_id);
        }
    }
    demo.signal("TERM");
    assert_eq!(demo.wait().code(), Some(0));
}
