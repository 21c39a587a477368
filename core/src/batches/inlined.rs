//! Results that are inlined in the operation of a batch: Gemini's, one JSON document of any length.
//!
//! They are there twice, below `metadata.output` and below `response`; whichever comes first is read, result by result. Nothing is
//! held but where in the document it is.

/// Containers of the document that are told apart; what lies deeper is a result or of no interest.
const DEEPEST: usize = 6;
/// Names longer than this are none that matter, bytes.
const NAME: usize = 20;

/// A piece of a result.
pub(super) enum Part<'a> {
    /// Bytes of it.
    Of(&'a [u8]),
    /// It is whole.
    End,
}

/// A member that matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Member {
    Done,
    Response,
    Metadata,
    Output,
    Inlined,
    #[default]
    Other,
}

#[derive(Clone, Copy, Debug, Default)]
struct Container {
    is_object: bool,
    /// Of an object: the member that is read.
    member: Member,
    /// Of an object: the next text is a member's name.
    wants_name: bool,
}

/// Where in the document it is.
#[derive(Debug, Default)]
pub(super) struct Inlined {
    containers: [Container; DEEPEST],
    depth: usize,
    /// In a text.
    in_text: bool,
    is_escaped: bool,
    /// The name that is read, as far as it is short.
    name: Vec<u8>,
    is_name: bool,
    /// Within this many containers are the results that are read.
    array: Option<usize>,
    has_read: bool,
    is_done: bool,
    is_closed: bool,
}

impl Inlined {
    /// Whether the document is whole, and the batch has ended.
    pub(super) fn is_whole(&self) -> bool {
        self.is_closed && self.is_done
    }

    /// The next piece of the document.
    pub(super) fn push(&mut self, piece: &[u8], mut each: impl FnMut(Part<'_>)) {
        let mut from = self.in_result().then_some(0);
        for (at, byte) in piece.iter().enumerate() {
            let was_in = from.is_some();
            self.byte(*byte);
            match (was_in, self.in_result()) {
                (false, true) => from = Some(at),
                (true, false) => {
                    let begin = from.take().unwrap_or_default();
                    each(Part::Of(piece.get(begin..=at).unwrap_or_default()));
                    each(Part::End);
                }
                _ => {}
            }
        }
        if let Some(begin) = from {
            each(Part::Of(piece.get(begin..).unwrap_or_default()));
        }
    }

    fn in_result(&self) -> bool {
        self.array.is_some_and(|array| self.depth > array)
    }

    fn byte(&mut self, byte: u8) {
        if self.in_text {
            return self.text(byte);
        }
        match byte {
            b'"' => {
                self.in_text = true;
                self.is_name = self.here().is_some_and(|here| here.wants_name);
                self.name.clear();
            }
            b'{' | b'[' => self.open(byte == b'{'),
            b'}' | b']' => self.close(),
            b':' => self.set(|here| here.wants_name = false),
            b',' => self.set(|here| here.wants_name = here.is_object),
            // Of the word `true`, which is the only one that begins so.
            b't' if self.depth == 1 && self.member(1) == Member::Done => self.is_done = true,
            _ => {}
        }
    }

    fn text(&mut self, byte: u8) {
        if self.is_escaped {
            self.is_escaped = false;
        } else if byte == b'\\' {
            self.is_escaped = true;
        } else if byte == b'"' {
            self.in_text = false;
            if self.is_name {
                let member = match self.name.as_slice() {
                    b"done" => Member::Done,
                    b"response" => Member::Response,
                    b"metadata" => Member::Metadata,
                    b"output" => Member::Output,
                    b"inlinedResponses" => Member::Inlined,
                    _ => Member::Other,
                };
                self.set(|here| here.member = member);
            }
            return;
        }
        if self.is_name && self.name.len() < NAME {
            self.name.push(byte);
        }
    }

    fn open(&mut self, is_object: bool) {
        if !is_object && !self.has_read && self.is_results() {
            self.array = Some(self.depth + 1);
            self.has_read = true;
        }
        self.depth += 1;
        self.set(|here| {
            *here = Container {
                is_object,
                wants_name: is_object,
                member: Member::Other,
            };
        });
    }

    fn close(&mut self) {
        if self.array == Some(self.depth) {
            self.array = None;
        }
        self.depth = self.depth.saturating_sub(1);
        self.is_closed = self.depth == 0;
    }

    /// Whether an array that begins here has the results.
    fn is_results(&self) -> bool {
        use Member::{Inlined, Metadata, Output, Response};
        let path: Vec<Member> = (1..=self.depth.min(DEEPEST)).map(|depth| self.member(depth)).collect();
        let ([Response, below @ ..] | [Metadata, Output, below @ ..]) = path.as_slice() else {
            return false;
        };
        matches!(below, [Inlined] | [Inlined, Inlined])
    }

    fn member(&self, depth: usize) -> Member {
        let container = self.containers.get(depth.wrapping_sub(1));
        container.map_or(Member::Other, |it| it.member)
    }

    fn here(&self) -> Option<&Container> {
        self.containers.get(self.depth.wrapping_sub(1))
    }

    fn set(&mut self, change: impl FnOnce(&mut Container)) {
        if let Some(here) = self.containers.get_mut(self.depth.wrapping_sub(1)) {
            change(here);
        }
    }
}
