//! Reads `limits`, `drain`, `files` and `images`: bounds and rules that hold for every caller.

use std::time::Duration;

use super::reader::{ConfigValue, Section, Zero};
use super::values::{Drain, Files, ImageRule, Images, Limits, Mode};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Upper bound of `connections` and of `in_flight`.
const COUNT_MAX: u32 = 1_000_000;

/// Upper bounds of a single body and of the memory of all bodies together, in bytes.
const BODY_BYTES_MAX: u64 = 1 << 30;
const MEMORY_BYTES_MAX: u64 = 1 << 40;

/// Reads `limits`, and warns if one caller's half of the memory is less than one body may take.
pub(super) fn read(file: &mut Section<'_>) -> Limits {
    let mut section = file.section("limits");
    let seconds = Duration::from_secs;
    let limits = Limits {
        connections: count(&mut section, "connections", 10_000),
        in_flight: count(&mut section, "in_flight", 2_000),
        body_memory_bytes: section.size("body_memory", MEMORY_BYTES_MAX, 256 * MIB),
        head_memory_bytes: section.size("head_memory", MEMORY_BYTES_MAX, 64 * MIB),
        json_body_bytes: section.size("json_body", BODY_BYTES_MAX, MIB),
        batch_body_bytes: section.size("batch_body", BODY_BYTES_MAX, 8 * MIB),
        header_timeout: section.duration("header_timeout", Zero::Refused, seconds(10)),
        body_timeout: section.duration("body_timeout", Zero::Refused, seconds(30)),
        idle_timeout: section.duration("idle_timeout", Zero::Refused, seconds(75)),
        deadline: section.duration("deadline", Zero::Refused, seconds(28)),
    };
    if limits.json_body_bytes.max(limits.batch_body_bytes) > limits.body_memory_bytes / 2 {
        section.value().warning("a body may be larger than the half of body_memory that one caller can hold");
    }
    limits
}

fn count(section: &mut Section<'_>, key: &'static str, default: usize) -> usize {
    let count = section.get(key).and_then(|value| value.positive(COUNT_MAX));
    count.map_or(default, |count| usize::try_from(count.get()).expect("a million fits usize"))
}

/// Reads `drain`. A call that was dispatched at the last moment may take `limits.deadline`; a warning says where it would
/// be cut off.
pub(super) fn read_drain(file: &mut Section<'_>, call: Duration) -> Drain {
    let mut section = file.section("drain");
    let drain = Drain {
        delay: section.duration("delay", Zero::Allowed, Duration::ZERO),
        deadline: section.duration("deadline", Zero::Refused, Duration::from_secs(35)),
        handover: section.flag("handover", false),
    };
    if drain.deadline < call {
        let [deadline, call] = [drain.deadline, call].map(humantime::format_duration);
        section.value().warning(&format!(
            "the deadline ({deadline} from the end of the delay) is shorter than limits.deadline ({call}), so calls \
             under way can be cut off"
        ));
    }
    drain
}

impl Default for Files {
    fn default() -> Self {
        Self { max_bytes: 10 * MIB, line_bytes: 40, txt: Mode::Enforce }
    }
}

/// Reads `files`, the rules for target lists.
pub(super) fn read_files(file: &mut Section<'_>) -> Files {
    let (mut section, default) = (file.section("files"), Files::default());
    Files {
        max_bytes: section.size("max", BODY_BYTES_MAX, default.max_bytes),
        line_bytes: section.size("line_bytes", BODY_BYTES_MAX, default.line_bytes),
        txt: section.get("txt").and_then(|value| read_mode(&value)).unwrap_or(default.txt),
    }
}

impl Default for Images {
    fn default() -> Self {
        let rule = |sizes, max_bytes| ImageRule { sizes, max_bytes, mode: Mode::Enforce };
        Self {
            max_bytes: 2 * MIB,
            oppo_big: rule(vec![(984, 369), (876, 324)], MIB),
            oppo_icon: rule(vec![(144, 144)], 50 * KIB),
        }
    }
}

/// Reads `images`, the rules for uploaded pictures.
pub(super) fn read_images(file: &mut Section<'_>) -> Images {
    let (mut section, default) = (file.section("images"), Images::default());
    let max_bytes = section.size("max", BODY_BYTES_MAX, default.max_bytes);
    let mut oppo = section.section("oppo");
    Images {
        max_bytes,
        oppo_big: read_rule(&mut oppo, "big", default.oppo_big),
        oppo_icon: read_rule(&mut oppo, "icon", default.oppo_icon),
    }
}

fn read_rule(oppo: &mut Section<'_>, key: &'static str, default: ImageRule) -> ImageRule {
    let mut section = oppo.section(key);
    let sizes = section.get("sizes").map(|value| value.items().iter().filter_map(read_pixels).collect());
    ImageRule {
        sizes: sizes.unwrap_or(default.sizes),
        max_bytes: section.size("max", BODY_BYTES_MAX, default.max_bytes),
        mode: section.get("mode").and_then(|value| read_mode(&value)).unwrap_or(default.mode),
    }
}

fn read_pixels(value: &ConfigValue<'_>) -> Option<(u32, u32)> {
    let pixels = super::units::pixels(value.text()?);
    pixels.or_else(|| {
        value.refuse(format!("expected width x height in pixels, such as 984x369{}", value.not_this()))
    })
}

fn read_mode(value: &ConfigValue<'_>) -> Option<Mode> {
    value.choice(&[("enforce", Mode::Enforce), ("report", Mode::Report)])
}
