//! Where the newlines of a text are, 64 bytes at a time.

const BLOCK_BYTES: usize = 64;

/// The lines of a text in which none is long.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ShortLines {
    /// How many newlines there are.
    pub(super) count: u64,
    /// Where the text behind the last one starts.
    pub(super) end: usize,
}

/// Counts lines, unless one of them, or the text behind the last, has over `max` bytes.
///
/// Lines of any mix of lengths cost the same: a block is judged as a whole, without a branch a line.
pub(super) fn short_lines(text: &[u8], max: usize) -> Option<ShortLines> {
    let shifts = run_shifts(max.saturating_add(1));
    let (blocks, tail) = text.as_chunks::<BLOCK_BYTES>();
    let mut lines = ShortLines { count: 0, end: 0 };
    let mut open = 0;
    for (index, block) in blocks.iter().enumerate() {
        let mask = newlines(block);
        if open + mask.trailing_zeros() as usize > max || has_run(!mask, shifts) {
            return None;
        }
        lines.count += u64::from(mask.count_ones());
        if mask == 0 {
            open += BLOCK_BYTES;
        } else {
            open = mask.leading_zeros() as usize;
            lines.end = (index + 1) * BLOCK_BYTES - open;
        }
    }
    // Each newline of the tail is looked at: it is one block at most.
    let base = text.len() - tail.len();
    for end in memchr::memchr_iter(b'\n', tail).map(|at| base + at) {
        if end - lines.end > max {
            return None;
        }
        lines.count += 1;
        lines.end = end + 1;
    }
    (text.len() - lines.end <= max).then_some(lines)
}

/// Calls `each` with the position of every `\n`, in order.
#[inline]
pub(super) fn each_newline(text: &[u8], mut each: impl FnMut(usize)) {
    let (blocks, tail) = text.as_chunks::<BLOCK_BYTES>();
    for (index, block) in blocks.iter().enumerate() {
        let mut mask = newlines(block);
        while mask != 0 {
            each(index * BLOCK_BYTES + mask.trailing_zeros() as usize);
            mask &= mask - 1;
        }
    }
    memchr::memchr_iter(b'\n', tail).for_each(|at| each(text.len() - tail.len() + at));
}

/// The shifts that leave a bit of every run of so many ones, and of no shorter one: each halves the rest of it.
/// A run of over 64 is in no block.
fn run_shifts(mut run: usize) -> Option<[u32; 6]> {
    if run > BLOCK_BYTES {
        return None;
    }
    Some([(); 6].map(|()| {
        let shift = run / 2;
        run -= shift;
        u32::try_from(shift).expect("a run is 64 bits at most")
    }))
}

#[inline]
fn has_run(bits: u64, shifts: Option<[u32; 6]>) -> bool {
    shifts.is_some_and(|shifts| shifts.iter().fold(bits, |runs, shift| runs & (runs >> shift)) != 0)
}

/// Bit *i* says whether byte *i* is a newline.
#[inline]
fn newlines(block: &[u8; BLOCK_BYTES]) -> u64 {
    let flags = block.map(|byte| u8::from(byte == b'\n'));
    let mut mask = 0;
    for (index, word) in flags.as_chunks::<8>().0.iter().enumerate() {
        // Eight bytes of 0 or 1: the product gathers the flag of byte k in bit 56 + k, and no two of its other
        // terms meet, so nothing carries into these bits.
        let gathered = u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        mask |= gathered << (8 * index);
    }
    mask
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![1 => Just(b'\n'), 8 => Just(b'a'), 1 => any::<u8>()], 0..400)
    }

    #[test]
    fn runs_on_both_sides_of_their_length() {
        for run in 1..=64 {
            let ones = |count: usize| if count == 64 { u64::MAX } else { (1 << count) - 1 };
            assert!(has_run(ones(run), run_shifts(run)), "{run}");
            assert!(has_run(ones(run) << (64 - run), run_shifts(run)), "{run}");
            assert!(!has_run(ones(run - 1), run_shifts(run)), "{run}");
        }
        assert!(!has_run(u64::MAX, run_shifts(65)));
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
            let count = lines.len() as u64 - 1;
            let end = text.len() - lines.last().map_or(0, |line| line.len());
            let short = lines.iter().all(|line| line.len() <= max);
            prop_assert_eq!(short_lines(&text, max), short.then_some(ShortLines { count, end }));
        }
    }
}
