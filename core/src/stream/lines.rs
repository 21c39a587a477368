//! Lines out of bytes as they come, bounded: how both sides of the stream read.

/// The beginning of a line whose end has not come yet.
#[derive(Debug)]
pub struct Lines {
    begun: Vec<u8>,
    kept: usize,
}

/// A line is longer than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Lines {
    /// Nothing has come yet. Between lines it keeps room for at most `kept` bytes.
    pub fn keeping(kept: usize) -> Self {
        Self {
            begun: Vec::new(),
            kept,
        }
    }

    /// Takes bytes and hands each line that is whole with them to `each`, without its end. Says how many there were.
    ///
    /// # Errors
    /// [`TooLong`] where a line, whole or begun, has more than `limit` bytes; else the first error of `each`.
    pub fn take<E: From<TooLong>>(
        &mut self,
        mut bytes: &[u8],
        limit: usize,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut count = 0;
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            if self.begun.len() + line.len() > limit {
                return Err(TooLong.into());
            }
            if self.begun.is_empty() {
                each(line)?;
            } else {
                self.begun.extend_from_slice(line);
                each(&self.begun)?;
                self.begun.clear();
                // A large document must not stay twice.
                self.begun.shrink_to(self.kept);
            }
            count += 1;
            bytes = rest.get(1..).unwrap_or_default();
        }
        if self.begun.len() + bytes.len() > limit {
            return Err(TooLong.into());
        }
        self.begun.extend_from_slice(bytes);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&[u8]], limit: usize) -> Result<Vec<String>, TooLong> {
        let mut lines = Lines::keeping(0);
        let mut found = Vec::new();
        let mut count = 0;
        for piece in pieces {
            count += lines.take(piece, limit, |line| {
                found.push(String::from_utf8_lossy(line).into_owned());
                Ok::<_, TooLong>(())
            })?;
        }
        assert_eq!(count, found.len());
        Ok(found)
    }

    #[test]
    fn lines_are_the_same_wherever_the_bytes_are_cut() {
        let text = b"one\n\nthree\nfour";
        for first in 0..text.len() {
            for second in first..text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(split(&pieces, 5).unwrap(), ["one", "", "three"], "{first} {second}");
            }
        }
    }

    #[test]
    fn a_line_without_an_end_is_given_up_at_the_limit() {
        assert!(split(&[b"12345\n", b"12345"], 5).is_ok());
        assert_eq!(split(&[b"123456\n"], 5), Err(TooLong));
        assert_eq!(split(&[b"123", b"456"], 5), Err(TooLong));
    }

    #[test]
    fn the_room_of_a_large_line_is_given_back() {
        for kept in [0, 16 << 10] {
            let mut lines = Lines::keeping(kept);
            let each = |_: &[u8]| Ok::<_, TooLong>(());
            lines.take(&vec![b'x'; 1 << 20], 2 << 20, each).unwrap();
            lines.take(b"\n", 2 << 20, each).unwrap();
            assert!(lines.begun.capacity() <= kept);
        }
    }
}
