//! Gzip without compression: a valid member made of stored blocks. A test needs the label and the form, not the ratio.

/// Wraps `data` in one gzip member.
pub(crate) fn stored(data: &[u8]) -> Vec<u8> {
    let mut out = header().to_vec();
    out.extend(block(data));
    out.extend(trailer(crc32(0, data), data.len()));
    out
}

/// The ten bytes that start a member: no name, no time, unknown system.
pub(crate) fn header() -> [u8; 10] {
    [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]
}

/// `data` as stored blocks, none of them the last: what a server flushes in the middle of a stream.
pub(crate) fn block(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 16);
    for part in data.chunks(usize::from(u16::MAX)) {
        let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
        out.push(0);
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(part);
    }
    out
}

/// An empty last block, the checksum and the length of all data.
pub(crate) fn trailer(crc: u32, length: usize) -> Vec<u8> {
    let mut out = vec![1, 0, 0, 0xff, 0xff];
    out.extend(crc.to_le_bytes());
    // The format wants the length modulo 2^32.
    out.extend((length as u64 & 0xffff_ffff).to_le_bytes().into_iter().take(4));
    out
}

/// Carries the CRC-32 of a member on over more data; starts at 0.
pub(crate) fn crc32(crc: u32, data: &[u8]) -> u32 {
    !data.iter().fold(!crc, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_standard_one_and_carries_on() {
        assert_eq!(crc32(0, b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(crc32(0, b"1234"), b"56789"), 0xcbf4_3926);
    }
}
