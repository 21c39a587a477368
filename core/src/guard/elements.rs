//! `Gemini` streams without `alt=sse`: one JSON array, cut into its elements and what stands between them.

use crate::dialect::sse::EVENT_LIMIT;

/// What a byte completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// It stands between two elements.
    Between,
    /// It is inside of one.
    Inside,
    /// It is the last of one.
    Last,
}

/// Finds the elements of a streamed JSON array.
#[derive(Clone, Debug, Default)]
pub(super) struct Elements {
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// The element that has begun.
    pub element: Vec<u8>,
}

impl Elements {
    /// Takes a byte. `Err`: the element is larger than an event may be.
    pub(super) fn take(&mut self, byte: u8) -> Result<Cut, ()> {
        let was_inside = self.depth >= 2;
        self.step(byte);
        let is_inside = self.depth >= 2;
        if !was_inside && !is_inside {
            return Ok(Cut::Between);
        }
        if self.element.len() >= EVENT_LIMIT {
            return Err(());
        }
        self.element.push(byte);
        Ok(if is_inside { Cut::Inside } else { Cut::Last })
    }

    fn step(&mut self, byte: u8) {
        match byte {
            _ if std::mem::take(&mut self.escaped) => {}
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'[' | b'{' => self.depth = self.depth.saturating_add(1),
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}
