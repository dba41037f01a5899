//! Finds special bytes in a short run of bytes. This is the only hot spot of the checks that is written for a
//! processor.
//!
//! The scan of an upload's lines runs at 20 GB/s with SSE2 and at 9 GB/s with the portable code, and it is most of the
//! cost of checking an upload. A push is mostly strings of a few dozen bytes each.

/// Bytes that one call of [`newlines`] looks at.
pub(super) const WORD_BYTES: usize = 32;
/// Bytes that one call of [`string_ends`] looks at.
pub(super) const TEXT_BYTES: usize = 16;

/// Sets bit *i* if byte *i* is a newline.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the compiler wants the feature of the processor vouched for at each call")]
#[inline]
pub(super) fn newlines(word: &[u8; WORD_BYTES]) -> u32 {
    // SAFETY: `sse2::newlines` needs nothing but a processor with SSE2. Every x86-64 has it: the instruction set and
    // its calling conventions include it. The function takes an array and touches no other memory.
    unsafe { sse2::newlines(word) }
}

/// Sets bit *i* if byte *i* is a quote, a backslash or an ASCII control byte below the space.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the compiler wants the feature of the processor vouched for at each call")]
#[inline]
pub(super) fn string_ends(word: &[u8; TEXT_BYTES]) -> u32 {
    // SAFETY: as in `newlines`, for `sse2::string_ends`.
    unsafe { sse2::string_ends(word) }
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };

    use super::{TEXT_BYTES, WORD_BYTES};

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn newlines(word: &[u8; WORD_BYTES]) -> u32 {
        let [low, high] = [0, 1].map(|half| {
            mask(_mm_cmpeq_epi8(load(&word.as_chunks().0[half]), _mm_set1_epi8(b'\n'.cast_signed())))
        });
        low | high << 16
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn string_ends(word: &[u8; TEXT_BYTES]) -> u32 {
        let word = load(word);
        let is = |byte: u8| _mm_cmpeq_epi8(word, _mm_set1_epi8(byte.cast_signed()));
        // The minimum of a byte and 0x1F equals the byte only if it is a control byte.
        let control = _mm_cmpeq_epi8(_mm_min_epu8(word, _mm_set1_epi8(0x1F)), word);
        mask(_mm_or_si128(control, _mm_or_si128(is(b'"'), is(b'\\'))))
    }

    /// Builds the vector from two integers, because a load needs a raw pointer. The compiler turns this into a load.
    #[target_feature(enable = "sse2")]
    #[inline]
    fn load(word: &[u8; 16]) -> __m128i {
        let [low, high] = [0, 1].map(|half| i64::from_le_bytes(word.as_chunks().0[half]));
        _mm_set_epi64x(high, low)
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn mask(flags: __m128i) -> u32 {
        _mm_movemask_epi8(flags).cast_unsigned()
    }
}

/// The same masks in portable code.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::{TEXT_BYTES, WORD_BYTES};

    pub(in crate::body) fn newlines(word: &[u8; WORD_BYTES]) -> u32 {
        mask(&word.map(|byte| byte == b'\n'))
    }

    pub(in crate::body) fn string_ends(word: &[u8; TEXT_BYTES]) -> u32 {
        mask(&word.map(|byte| byte < 0x20 || byte == b'"' || byte == b'\\'))
    }

    /// Takes eight bytes of 0 or 1 at a time: the product gathers the flag of byte k in bit 56 + k. No two of its other
    /// terms meet, so nothing carries into these bits.
    fn mask(flags: &[bool]) -> u32 {
        let eighths = flags.as_chunks::<8>().0.iter().enumerate();
        let gathered = |flags: &[bool; 8]| {
            u64::from_le_bytes(flags.map(u8::from)).wrapping_mul(0x0102_0408_1020_4080) >> 56
        };
        eighths.map(|(at, flags)| u32::try_from(gathered(flags)).expect("eight bits") << (at * 8)).sum()
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) use portable::{newlines, string_ends};

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
            prop_assert_eq!(portable::newlines(&word), expected);
        }

        #[test]
        fn each_bit_is_its_end(
            word in prop::array::uniform16(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), 0x1E_u8..0x22]),
        ) {
            let bit = |at: usize| u32::from(word[at] < 0x20 || word[at] == b'"' || word[at] == b'\\') << at;
            let expected = (0..TEXT_BYTES).map(bit).sum::<u32>();
            prop_assert_eq!(string_ends(&word), expected);
            prop_assert_eq!(portable::string_ends(&word), expected);
        }
    }
}
