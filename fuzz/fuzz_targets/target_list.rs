//! The verdict on a list does not depend on how it is cut, and agrees with a plain reading of it.

#![no_main]

use jpush_gateway::body::TargetScan;
use jpush_gateway_fuzz::FILES;
use libfuzzer_sys::fuzz_target;

// The first byte is the length of the chunks, the rest the list.
fuzz_target!(|data: &[u8]| {
    let Some((&size, list)) = data.split_first() else { return };
    let mut whole = TargetScan::new(&FILES);
    whole.push(list);
    let whole = whole.finish();
    let mut cut = TargetScan::new(&FILES);
    list.chunks(usize::from(size).max(1)).for_each(|chunk| cut.push(chunk));
    assert_eq!(whole, cut.finish());
    let plain = std::str::from_utf8(list);
    assert_eq!(
        whole.broken.map(|broken| broken.offset as usize),
        plain.err().map(|error| error.valid_up_to())
    );
    if let Ok(text) = plain {
        let blank = |character: char| character <= ' ' || character.is_whitespace();
        let widest = |line: &str| line.split('\r').map(|value| value.trim_matches(blank).len()).max();
        let lines = text.strip_prefix('\u{feff}').unwrap_or(text).split('\n').map(widest);
        assert_eq!(whole.bad_lines, lines.filter(|&bytes| bytes > Some(40)).count() as u64);
    }
});
