//! Tests of rules by table, on both sides of each limit, and of laws by property.

mod forms;
mod images;
mod laws;
mod lists;
mod pushes;
mod reach;
mod readings;
mod schedules;
mod urls;

use crate::config::{Files, ImageRule, Images, Limits, Mode};
use crate::operation::{BodyRule, Family, OPERATIONS, Operation, Verb};

use super::*;

const APP_KEY: &str = "7d431e42dfa6a6d693ac2d04";
const UUID: &str = "374004a2-bc6c-4abc-bde5-9f1a9671d307";
const FORM: &[u8] = b"multipart/form-data; boundary=xyz";

const FILES: Files = Files { max_bytes: 10 * 1024 * 1024, line_bytes: 40, txt: Mode::Enforce };

fn images() -> Images {
    let rule = |sizes, max_bytes| ImageRule { sizes, max_bytes, mode: Mode::Enforce };
    Images {
        max_bytes: 2 * 1024 * 1024,
        oppo_big: rule(vec![(984, 369), (876, 324)], 1024 * 1024),
        oppo_icon: rule(vec![(144, 144)], 50 * 1024),
    }
}

/// A request to which a rule of the table applies.
#[derive(Clone)]
struct Request {
    rule: BodyRule,
    method: Verb,
    query: Option<&'static str>,
    value: Option<&'static str>,
    content_type: Option<&'static [u8]>,
    encrypted: bool,
    files: Files,
    images: Images,
}

impl Request {
    fn new(rule: BodyRule) -> Self {
        Self {
            rule,
            method: Verb::Post,
            query: None,
            value: (rule == BodyRule::TargetList).then_some("alias"),
            content_type: Some(FORM),
            encrypted: false,
            files: FILES,
            images: images(),
        }
    }

    fn update(rule: BodyRule, value: &'static str) -> Self {
        Self { method: Verb::Put, value: Some(value), ..Self::new(rule) }
    }

    fn encrypted(rule: BodyRule) -> Self {
        Self { encrypted: true, ..Self::new(rule) }
    }

    fn check(&self, body: impl AsRef<[u8]>) -> Result<Facts, Defect> {
        self.check_arriving(body.as_ref(), &[])
    }

    /// Prescans the body at each of these lengths, and then checks the whole.
    fn check_arriving(&self, body: &[u8], lengths: &[usize]) -> Result<Facts, Defect> {
        let row = OPERATIONS.iter().find(|row| row.body == self.rule && row.method == self.method);
        let subject = Subject {
            method: self.method,
            family: row.map_or(Family::Push, Operation::family),
            query: self.query,
            value: self.value,
            content_type: self.content_type,
            encrypted: self.encrypted,
            app_key: APP_KEY,
            files: &self.files,
            images: &self.images,
        };
        if lengths.is_empty() {
            return check(self.rule, &subject, body);
        }
        let mut prescan = Prescan::new(self.rule, &subject);
        for &length in lengths {
            prescan.scan(&body[..length]);
        }
        check_rest(self.rule, &subject, body, Some(&prescan))
    }

    #[track_caller]
    fn passes(&self, body: impl AsRef<[u8]>) -> Facts {
        self.check(body).unwrap()
    }

    #[track_caller]
    fn refuses(&self, body: impl AsRef<[u8]>, rule: Rule, code: u32) -> String {
        let defect = self.check(body.as_ref()).expect_err("the body has a fault");
        assert_eq!((defect.rule, defect.code), (rule, code), "{}", String::from_utf8_lossy(body.as_ref()));
        defect.message
    }
}

#[test]
fn names_of_rules_are_distinct_and_plain() {
    let mut names: Vec<_> = Rule::ALL.iter().map(|rule| rule.as_str()).collect();
    assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Rule::ALL.len());
}

#[test]
fn codes_are_the_families_own() {
    let code = |family, rule| BodyFault::new(rule, "").worded_for(family).code;
    let families = [
        (Family::Push, 1002, 1003),
        (Family::File, 1102, 1103),
        (Family::Image, 1102, 1103),
        (Family::Schedule, 8100, 8100),
        (Family::Device, 7002, 7002),
        (Family::V4, 23002, 21003),
    ];
    for (family, missing, bad) in families {
        assert_eq!((code(family, Rule::PlatformMissing), code(family, Rule::Json)), (missing, bad));
    }
}

#[test]
fn sizes_of_bodies_follow_the_limits() {
    let second = std::time::Duration::from_secs(1);
    let limits = Limits {
        connections: 1,
        in_flight: 1,
        body_memory_bytes: 1,
        head_memory_bytes: 1,
        json_body_bytes: 1 << 20,
        batch_body_bytes: 8 << 20,
        header_timeout: second,
        body_timeout: second,
        idle_timeout: second,
        deadline: second,
    };
    let bytes = |rule| limit_bytes(rule, &limits, &FILES, &images());
    assert_eq!(bytes(BodyRule::None), 65_536);
    assert_eq!(bytes(BodyRule::CidQuery), 65_536);
    assert_eq!(bytes(BodyRule::Push), 1 << 20);
    assert_eq!(bytes(BodyRule::Batch), 8 << 20);
    assert_eq!(bytes(BodyRule::TemplatePush), 8 << 20, "many pushes as well");
    assert_eq!(bytes(BodyRule::TargetList), (10 << 20) + 65_536);
    assert_eq!(bytes(BodyRule::ImageFiles), (4 << 20) + 65_536);
}

#[test]
fn cid_queries() {
    let files = FILES;
    let images = images();
    let ask_as = |encrypted, query| {
        let subject = Subject {
            method: Verb::Get,
            family: Family::Push,
            query,
            value: None,
            content_type: None,
            encrypted,
            app_key: APP_KEY,
            files: &files,
            images: &images,
        };
        check(BodyRule::CidQuery, &subject, b"null").map(|_| ()).map_err(|defect| (defect.rule, defect.code))
    };
    let ask = |query| ask_as(false, query);
    // A query is never encrypted, whatever the body is.
    assert_eq!(ask_as(true, Some("count=0")), Err((Rule::CidCount, 1003)));
    let good = [
        "",
        "count=1",
        "count=1000",
        "count=10&type=push",
        "type=schedule&x=y",
        "count=%31",
        "coun=x",
        "count=0007",
    ];
    for query in good {
        assert_eq!(ask(Some(query)), Ok(()), "{query}");
    }
    assert_eq!(ask(None), Ok(()));
    let counts = [
        "count=0",
        "count=1001",
        "count=",
        "count",
        "count=-1",
        "count=1.5",
        "count=+5",
        "count=99999999999",
    ];
    for query in counts.into_iter().chain(["count=5&count=0", "count=%ff", "count=%"]) {
        assert_eq!(ask(Some(query)), Err((Rule::CidCount, 1003)), "{query}");
    }
    for query in ["type=", "type=Push", "type=push&type=x"] {
        assert_eq!(ask(Some(query)), Err((Rule::CidType, 1003)), "{query}");
    }
}

#[test]
fn bodies_without_rule_are_not_looked_at() {
    assert_eq!(Request::new(BodyRule::None).passes(b"\xFF anything"), Facts::default());
}
