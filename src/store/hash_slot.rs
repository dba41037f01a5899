//! The hash slot of a key: which server of a cluster holds it.

/// Hash slots of every cluster.
pub(super) const HASH_SLOTS: u16 = 16 * 1024;

/// CRC-16/XMODEM of the part between the first braces, or of the whole key, as every server of a cluster computes it.
pub(super) fn hash_slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    hashed.bytes().fold(0, crc16) % HASH_SLOTS
}

fn crc16(crc: u16, byte: u8) -> u16 {
    (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
        let shifted = crc << 1;
        if crc & 0x8000 == 0 { shifted } else { shifted ^ 0x1021 }
    })
}

#[cfg(test)]
mod tests {
    use super::hash_slot;

    #[test]
    fn slots_are_those_of_the_servers() {
        // As `CLUSTER KEYSLOT` answers.
        let known = [
            ("123456789", 12739),
            ("foo", 12182),
            ("{foo}:push", 12182),
            ("a{foo}{b}", 12182),
            ("{}", 15257),
        ];
        for (key, slot) in known {
            assert_eq!(hash_slot(key), slot, "{key}");
        }
    }
}
