//! Parses texts that stand for quantities: `1m30s`, `256MiB`, `984x369`.

use std::time::Duration;

/// The longest duration that is accepted: sums of a few of them cannot overflow.
pub(super) const DURATION_MAX: Duration = Duration::from_hours(31 * 24);

/// Upper bound of the width and the height that a picture rule can ask for, in pixels.
const PIXELS_MAX: u32 = 65_535;

/// Parses `60s`, `1m30s` or `500ms`. The error says what is expected.
pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    // Longer numbers are of no use, and their sums can overflow inside the parser, which then panics.
    const DIGITS_MAX: usize = 10;
    const EXPECTED: &str = "expected a duration such as 500ms, 10s, 1m30s or 24h";
    if text.bytes().filter(u8::is_ascii_digit).count() > DIGITS_MAX {
        return Err(EXPECTED);
    }
    let duration = humantime::parse_duration(text).map_err(|_| EXPECTED)?;
    if duration > DURATION_MAX { Err("expected at most 31 days") } else { Ok(duration) }
}

/// Parses `256MiB`, `50KiB` or a plain number, into bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 5] =
        [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("B", 1)];
    let (digits, unit) = UNITS
        .iter()
        .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|digits| (digits.trim_end(), *unit)))
        .unwrap_or((text, 1));
    whole_number(digits)?.checked_mul(unit)
}

/// Parses `984x369` into width and height in pixels.
pub(super) fn pixels(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.split_once('x')?;
    let side = |digits| {
        let side = u32::try_from(whole_number(digits)?).ok()?;
        (1..=PIXELS_MAX).contains(&side).then_some(side)
    };
    Some((side(width)?, side(height)?))
}

/// Parses the digits of a percentage, 0 to 100.
pub(super) fn percent(digits: &str) -> Option<u8> {
    u8::try_from(whole_number(digits)?).ok().filter(|percent| *percent <= 100)
}

/// Parses digits alone: the standard parser would accept a leading `+`.
fn whole_number(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}
