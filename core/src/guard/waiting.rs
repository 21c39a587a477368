//! An event of a streamed answer that waits, and how it is written with what was changed in it.

use bytes::{BufMut as _, BytesMut};

use super::body::{Edit, spliced};

/// An event on its way.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub raw: Vec<u8>,
    /// Where its data begins in it.
    pub data_at: usize,
    /// Its data, where that stands on several lines.
    pub joined: Option<Vec<u8>>,
    pub edits: Vec<Edit>,
    /// Made if there is any edit.
    pub spelled: Vec<Edit>,
    /// Its texts that are not decided.
    pub open: usize,
    pub has_data: bool,
}

impl Waiting {
    /// One with this data, whose bytes are put into it when it has to wait. `raw`: they.
    pub(super) fn of(raw: &[u8], data: &[u8]) -> Self {
        let offset = (data.as_ptr() as usize).wrapping_sub(raw.as_ptr() as usize);
        let is_in_it = offset.checked_add(data.len()).is_some_and(|end| end <= raw.len());
        Self {
            data_at: if is_in_it { offset } else { 0 },
            joined: (!is_in_it).then(|| data.to_vec()),
            has_data: true,
            ..Self::default()
        }
    }

    /// Writes it. Returns whether in another form than it came in. `last`: its bytes, where it has none.
    pub(super) fn write(mut self, last: Option<&[u8]>, out: &mut BytesMut) -> bool {
        let raw = last.unwrap_or(&self.raw);
        if self.edits.is_empty() {
            out.put_slice(raw);
            return false;
        }
        self.edits.append(&mut self.spelled);
        self.edits.sort_by_key(|(at, ..)| *at);
        if let Some(data) = &self.joined {
            let data = spliced(data, &self.edits).unwrap_or_default();
            // Between its values a line end is white space, and within a text there is none.
            let data: Vec<u8> = data
                .iter()
                .map(|byte| if *byte == b'\n' { b' ' } else { *byte })
                .collect();
            let name = raw
                .split(|byte| *byte == b'\n')
                .find(|line| line.starts_with(b"event:"));
            if let Some(name) = name {
                out.put_slice(name.trim_ascii_end());
                out.put_slice(b"\n");
            }
            out.put_slice(b"data: ");
            out.put_slice(&data);
            out.put_slice(b"\n\n");
            return true;
        }
        for (at, ..) in &mut self.edits {
            *at += self.data_at;
        }
        out.put_slice(&spliced(raw, &self.edits).unwrap_or_default());
        true
    }
}
