//! `Gemini` streams without `alt=sse`: one JSON array whose elements arrive over time.
//!
//! Such a stream is only ever passed through; this finds its elements so that usage, end and errors are seen.

/// Bytes of one element that are held at most; a larger one is passed on unread.
const ELEMENT_LIMIT: usize = super::sse::EVENT_LIMIT;

/// Finds the elements of a streamed JSON array.
#[derive(Debug, Default)]
pub(super) struct Elements {
    depth: u32,
    in_string: bool,
    escaped: bool,
    oversized: bool,
    closed: bool,
    /// A comma came after the last element: there is another to come.
    comma: bool,
    any: bool,
    element: Vec<u8>,
}

impl Elements {
    /// Takes a chunk and calls `on` with each element that it completes.
    pub(super) fn push<E>(&mut self, chunk: &[u8], mut on: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        for &byte in chunk {
            let was_inside = self.depth >= 2;
            self.step(byte);
            let inside = self.depth >= 2;
            if was_inside || inside {
                if self.element.len() < ELEMENT_LIMIT {
                    self.element.push(byte);
                } else {
                    self.oversized = true;
                }
            }
            if was_inside && !inside {
                self.any = true;
                let element = std::mem::take(&mut self.element);
                if !std::mem::take(&mut self.oversized) {
                    on(&element)?;
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b',' if self.depth == 1 => self.comma = true,
            b'[' | b'{' => {
                self.comma = false;
                self.depth = self.depth.saturating_add(1);
            }
            b']' | b'}' => {
                self.depth = self.depth.saturating_sub(1);
                self.closed |= self.depth == 0;
            }
            _ => {}
        }
    }

    /// Whether the array's closing bracket was seen.
    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    /// Whether nothing more need come but the closing bracket.
    pub(super) fn may_end(&self) -> bool {
        self.closed || (self.any && !self.mid_element() && !self.comma)
    }

    /// What must come before and after a further element to end the array well.
    pub(super) fn frame(&self) -> (&'static str, &'static str) {
        match (self.closed, self.any && !self.comma) {
            (true, _) => ("", ""),
            (false, true) => (",\r\n", "]"),
            (false, false) => ("", "]"),
        }
    }

    /// Whether an element has begun and not ended.
    pub(super) fn mid_element(&self) -> bool {
        self.depth >= 2
    }
}
