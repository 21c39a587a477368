//! Counts server-sent events the way a caller sees them.

/// What a data line starts with, newline before it included.
const FIELD: &[u8] = b"\ndata:";

/// Counts `data:` lines in a stream that may be split anywhere.
#[derive(Debug)]
pub struct EventCounter {
    /// How much of [`FIELD`] the bytes seen last match.
    matched: usize,
    count: u64,
}

impl Default for EventCounter {
    fn default() -> Self {
        // The start of a stream is the start of a line.
        Self { matched: 1, count: 0 }
    }
}

impl EventCounter {
    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.matched = match FIELD.get(self.matched) {
                Some(next) if next == byte => self.matched + 1,
                // The newline is nowhere else in FIELD, so a failed match can only start again at a newline.
                _ => usize::from(*byte == b'\n'),
            };
            if self.matched == FIELD.len() {
                self.count += 1;
                self.matched = 0;
            }
        }
    }

    /// Data lines so far, `[DONE]` included.
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_however_the_stream_is_split() {
        let stream = b"data: {\"text\":\"data: \\ndata:\"}\n\n\n: comment data:\nevent: x\ndata: 2\n\ndata: [DONE]\n\n";
        for step in 1..=stream.len() {
            let mut counter = EventCounter::default();
            stream.chunks(step).for_each(|piece| counter.feed(piece));
            assert_eq!(counter.count(), 3, "step {step}");
        }
    }
}
