//! Finds newlines in a text, 32 bytes at a time.

use super::byte_mask::{WORD_BYTES, newlines};

/// The start of the text after the last newline, if neither a line nor that text is longer than `max` bytes.
///
/// `None` means that each line has to be looked at. That is always so if `max` is below 32, because a line within one
/// word is not measured. The cost does not depend on the mix of line lengths: there is no branch per line.
pub(super) fn short_lines(text: &[u8], max: usize) -> Option<usize> {
    if max < WORD_BYTES {
        return None;
    }
    let (words, tail) = text.as_chunks::<WORD_BYTES>();
    // A line longer than a word crosses into the next word; `open` bytes of it were in the words before.
    let (mut widest, mut open) = (0, 0);
    for word in words {
        let mask = newlines(word);
        widest = widest.max(open + mask.trailing_zeros() as usize);
        // Without a newline, `leading_zeros` is the whole word, which is then added to the open line.
        let carried = if mask == 0 { open } else { 0 };
        open = carried + mask.leading_zeros() as usize;
    }
    let base = text.len() - tail.len();
    let mut start = base - open;
    for end in memchr::memchr_iter(b'\n', tail).map(|at| base + at) {
        widest = widest.max(end - start);
        start = end + 1;
    }
    (widest.max(text.len() - start) <= max).then_some(start)
}

/// Calls `each` with the position of every `\n`, in order.
#[inline]
pub(super) fn each_newline(text: &[u8], mut each: impl FnMut(usize)) {
    let (words, tail) = text.as_chunks::<WORD_BYTES>();
    for (index, word) in words.iter().enumerate() {
        let mut mask = newlines(word);
        while mask != 0 {
            each(index * WORD_BYTES + mask.trailing_zeros() as usize);
            mask &= mask - 1;
        }
    }
    memchr::memchr_iter(b'\n', tail).for_each(|at| each(text.len() - tail.len() + at));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![1 => Just(b'\n'), 30 => Just(b'a'), 1 => any::<u8>()], 0..400)
    }

    #[test]
    fn lines_on_both_sides_of_their_length() {
        for max in 32..100 {
            for lead in 0..70 {
                let text = |length: usize| [vec![b'\n'; lead], vec![b'a'; length], b"\nb".to_vec()].concat();
                assert_eq!(short_lines(&text(max), max), Some(lead + max + 1), "{max} {lead}");
                assert_eq!(short_lines(&text(max + 1), max), None, "{max} {lead}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_newline_is_found(text in texts()) {
            let mut found = Vec::new();
            each_newline(&text, |position| found.push(position));
            let expected: Vec<_> = memchr::memchr_iter(b'\n', &text).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn lines_are_short_if_each_is(text in texts(), max in 0..100_usize) {
            let lines: Vec<_> = text.split(|&byte| byte == b'\n').collect();
            let start = text.len() - lines.last().map_or(0, |line| line.len());
            let short = max >= WORD_BYTES && lines.iter().all(|line| line.len() <= max);
            prop_assert_eq!(short_lines(&text, max), short.then_some(start));
        }
    }
}
