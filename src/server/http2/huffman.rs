//! The Huffman code of HPACK (RFC 7541, appendix B), decoded. Pure.
//!
//! The code is canonical: codes of the same length are consecutive, in the order of their bytes.

/// All bytes in the order of their codes.
static BYTES: &[u8; 256] =
    b"012aceiost\x20%-./3456789=A_bdfghlmnpru:BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz&*,;XZ!\"()?'+|#>\x00$@[]~^}<\
      `{\\\xc3\xd0\x80\x82\x83\xa2\xb8\xc2\xe0\xe2\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6\x81\
      \x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9\
      \x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc\
      \xbf\xc5\xe7\xef\x09\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed\xc7\xcf\xea\xeb\xc0\xc1\xc8\xc9\xca\
      \xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\
      \xfb\xfc\xfd\xfe\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\
      \x1b\x1c\x1d\x1e\x1f\x7f\xdc\xf9\x0a\x0d\x16";

/// Bits of the shortest code.
const SHORTEST: usize = 5;
/// The number of codes with 5 bits, 6 bits, and so on to 30. The very last code marks the end of a string and does not
/// appear in one.
const COUNTS: [u16; 26] =
    [10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 3];

/// Decodes a string; `None` if it is malformed.
pub(super) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(coded.len() * 8 / SHORTEST);
    // Bits that are not decoded yet, the next one in the highest position.
    let (mut bits, mut length) = (0_u64, 0);
    let mut rest = coded.iter();
    loop {
        while length <= 56
            && let Some(byte) = rest.next()
        {
            bits |= u64::from(*byte) << (56 - length);
            length += 8;
        }
        match first(bits) {
            Some((byte, used)) if used <= length => {
                text.push(byte);
                (bits, length) = (bits << used, length - used);
            }
            // The last byte is padded with the beginning of the end-of-string code, which is all ones.
            _ => return (length < 8 && bits.leading_ones() as usize >= length).then_some(text),
        }
    }
}

/// The first byte and the length of its code in bits.
fn first(bits: u64) -> Option<(u8, usize)> {
    let (mut code, mut at) = (0_u64, 0_usize);
    for (length, count) in (SHORTEST..).zip(COUNTS) {
        let offset = (bits >> (64 - length)).checked_sub(code)?;
        if offset < u64::from(count) {
            return Some((BYTES[at + usize::try_from(offset).ok()?], length));
        }
        at += usize::from(count);
        code = (code + u64::from(count)) << 1;
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The code of a byte, and its length in bits.
    fn code_of(byte: u8) -> (u64, usize) {
        let (mut code, mut rest) =
            (0, BYTES.iter().position(|known| *known == byte).expect("all bytes are there"));
        for (length, count) in (SHORTEST..).zip(COUNTS.map(usize::from)) {
            if rest < count {
                return (code + rest as u64, length);
            }
            (rest, code) = (rest - count, (code + count as u64) << 1);
        }
        unreachable!("the counts make 256")
    }

    pub(in crate::server::http2) fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits: Vec<bool> = Vec::new();
        for byte in text {
            let (code, length) = code_of(*byte);
            bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
        }
        bits.resize(bits.len().next_multiple_of(8), true);
        bits.chunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect()
    }

    /// The examples of RFC 7541, C.4 and C.6.
    #[test]
    fn the_examples_of_the_rfc() {
        let rows: [(&[u8], &str); 4] = [
            (&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff], "www.example.com"),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x64, 0x02], "302"),
            (&[], ""),
        ];
        for (coded, text) in rows {
            assert_eq!(decode(coded).as_deref(), Some(text.as_bytes()));
            assert_eq!(encode(text.as_bytes()), coded);
        }
        assert_eq!(code_of(b'#'), (0xffa, 12));
        for bad in [&[0xff, 0xff, 0xff, 0xff][..], &[0xff], &[0x00]] {
            assert_eq!(decode(bad), None, "{bad:x?}");
        }
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(decode(&encode(&text)), Some(text));
        }

        #[test]
        fn no_bytes_make_a_panic(coded in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(text) = decode(&coded) {
                prop_assert_eq!(encode(&text), coded, "there is one way to write a text");
            }
        }
    }
}
