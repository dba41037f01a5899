//! What checking a body costs, beside copying it.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jpush_gateway::body::{self, ImageType, Subject, UploadChannel};
use jpush_gateway::config::{Files, ImageRule, Images, Mode};
use jpush_gateway::operation::{BodyRule, Family, Verb};

const LIST_BYTES: usize = 10 * 1024 * 1024;

fn files() -> Files {
    Files { max_bytes: LIST_BYTES, line_bytes: 40, txt: Mode::Enforce }
}

fn images() -> Images {
    let rule = |sizes, max_bytes| ImageRule { sizes, max_bytes, mode: Mode::Enforce };
    Images {
        max_bytes: 2 * 1024 * 1024,
        oppo_big: rule(vec![(984, 369), (876, 324)], 1024 * 1024),
        oppo_icon: rule(vec![(144, 144)], 50 * 1024),
    }
}

/// Lines of so many characters as `length` says, up to the size of a whole list.
fn list(character: &str, ending: &str, mut length: impl FnMut() -> usize) -> Vec<u8> {
    let mut list = Vec::with_capacity(LIST_BYTES);
    loop {
        let line = character.repeat(length()) + ending;
        if list.len() + line.len() > LIST_BYTES {
            return list;
        }
        list.extend_from_slice(line.as_bytes());
    }
}

/// A fixed stream of numbers from 1 to `max`.
fn numbers(max: usize) -> impl FnMut() -> usize {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        1 + usize::try_from(state % max as u64).expect("the rest is small")
    }
}

fn form(list: &[u8]) -> Vec<u8> {
    let head = b"--b\r\nContent-Disposition: form-data; name=\"filename\"; filename=\"list.txt\"\r\n\r\n";
    [&head[..], list, b"\r\n--b--\r\n"].concat()
}

fn target_lists(criterion: &mut Criterion) {
    let (files, images) = (files(), images());
    let mut subject = subject(&files, &images);
    subject.value = Some("alias");
    subject.content_type = Some(b"multipart/form-data; boundary=b");
    subject.family = Family::File;
    let lists = [
        ("19 characters", list("a", "\n", || 19)),
        ("1-40 characters", list("a", "\n", numbers(40))),
        ("40 characters and CRLF", list("a", "\r\n", || 40)),
        ("1-13 Chinese characters", list("张", "\n", numbers(13))),
    ];
    let mut group = criterion.benchmark_group("target_list");
    for (name, list) in lists {
        let body = form(&list);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::new("check", name), |bencher| {
            bencher.iter(|| {
                body::check(BodyRule::TargetList, &subject, black_box(&body)).expect("the list is good")
            });
        });
        let mut copy = vec![0; body.len()];
        group.bench_function(BenchmarkId::new("memcpy", name), |bencher| {
            bencher.iter(|| black_box(&mut copy).copy_from_slice(black_box(&body)));
        });
    }
    group.finish();
}

fn subject<'a>(files: &'a Files, images: &'a Images) -> Subject<'a> {
    Subject {
        method: Verb::Post,
        family: Family::Push,
        query: None,
        value: None,
        content_type: None,
        encrypted: false,
        app_key: "7d431e42dfa6a6d693ac2d04",
        files,
        images,
    }
}

fn pushes(criterion: &mut Criterion) {
    let (files, images) = (files(), images());
    let subject = subject(&files, &images);
    let push = r#"{"cid":"7d431e42dfa6a6d693ac2d04-374004a2-bc6c-4abc-bde5-9f1a9671d307","platform":["android","ios"],"audience":{"alias":["u-184467440737","u-184467440738","u-184467440739"]},"notification":{"android":{"alert":"Your parcel is on its way","title":"Shop","builder_id":1,"priority":0,"extras":{"order":"18446744","screen":"tracking"}},"ios":{"alert":{"title":"Shop","body":"Your parcel is on its way"},"sound":"default","badge":"+1","thread-id":"orders","extras":{"order":"18446744","screen":"tracking"}}},"options":{"sendno":1844674,"time_to_live":86400,"apns_production":true,"classification":1}}"#;
    let schedule = format!(
        r#"{{"name":"evening","enabled":true,"trigger":{{"single":{{"time":"2026-11-22 18:00:00"}}}},"push":{push}}}"#
    );
    let mut group = criterion.benchmark_group("json");
    for (name, rule, body) in
        [("push", BodyRule::Push, push), ("schedule", BodyRule::Schedule, schedule.as_str())]
    {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::new(name, body.len()), |bencher| {
            bencher
                .iter(|| body::check(rule, &subject, black_box(body.as_bytes())).expect("the body is good"));
        });
    }
    group.finish();
}

fn pictures(criterion: &mut Criterion) {
    let images = images();
    let mut group = criterion.benchmark_group("picture");
    let oppo: [(&str, &[u8]); 2] = [
        ("jpeg", include_bytes!("../tests/data/images/oppo-big.jpg")),
        ("png", include_bytes!("../tests/data/images/oppo-big-older.png")),
    ];
    for (name, header) in oppo {
        let mut file = header.to_vec();
        file.resize(900 * 1024, 0);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                body::check_picture(black_box(&file), UploadChannel::Oppo, Some(ImageType::Big), &images)
                    .expect("the picture is good")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, target_lists, pushes, pictures);
criterion_main!(benches);
