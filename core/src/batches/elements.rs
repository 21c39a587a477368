//! The requests of a batch that are inlined in the document that makes it, taken out of it one by one as it comes.
//!
//! This is for rules about requests, so it must not be led astray: of an array that is there twice both are read, of two spellings
//! of a name both count, and a name on the way that is written with escapes is told, since it may be any.

/// Names longer than this are none that matter, bytes: with every letter escaped the longest of those that do has 84.
const NAME: usize = 100;

/// A name on the way to the requests, in each of its spellings.
pub(super) type Name = &'static [&'static str];

/// What is found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Bytes of an element.
    Of(&'a [u8]),
    /// The element is whole.
    End,
    /// The requests are elsewhere: there is a member of the name that says where.
    Elsewhere,
    /// A name on the way is written with escapes.
    Escaped,
    /// The document is whole.
    Whole,
}

/// Where in the document it is.
#[derive(Debug)]
pub(super) struct Elements {
    /// The names of the members that lead to the array.
    way: &'static [Name],
    /// Beside the last but one of them: the name of what says that the requests are elsewhere.
    elsewhere: Name,
    depth: usize,
    /// So many of the containers that it is in are on the way.
    on: usize,
    /// In the innermost of these the next text is a name.
    wants_name: bool,
    /// The member of it that is read leads on.
    leads: bool,
    in_text: bool,
    is_escaped: bool,
    is_name: bool,
    name: Vec<u8>,
    /// Within this many containers are the elements.
    array: Option<usize>,
    is_closed: bool,
}

impl Elements {
    /// At the beginning of a document.
    pub(super) fn new(way: &'static [Name], elsewhere: Name) -> Self {
        Self {
            way,
            elsewhere,
            depth: 0,
            on: 0,
            wants_name: false,
            leads: true,
            in_text: false,
            is_escaped: false,
            is_name: false,
            name: Vec::new(),
            array: None,
            is_closed: false,
        }
    }

    /// Whether the document is whole.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The next piece of the document.
    pub(super) fn push(&mut self, piece: &[u8], each: &mut dyn FnMut(Part<'_>)) {
        let mut from = self.in_element().then_some(0);
        for (at, byte) in piece.iter().enumerate() {
            let was_in = from.is_some();
            let found = self.byte(*byte);
            match (was_in, self.in_element()) {
                (false, true) => from = Some(at),
                (true, false) => {
                    let begin = from.take().unwrap_or_default();
                    each(Part::Of(piece.get(begin..=at).unwrap_or_default()));
                    each(Part::End);
                }
                _ => {}
            }
            if let Some(found) = found {
                each(found);
            }
        }
        if let Some(begin) = from {
            each(Part::Of(piece.get(begin..).unwrap_or_default()));
        }
    }

    fn in_element(&self) -> bool {
        self.array.is_some_and(|array| self.depth > array)
    }

    fn is_here(&self) -> bool {
        self.depth == self.on
    }

    fn byte(&mut self, byte: u8) -> Option<Part<'static>> {
        if self.in_text {
            return self.text(byte);
        }
        match byte {
            b'"' => {
                self.in_text = true;
                self.is_name = self.depth > 0 && self.is_here() && self.wants_name;
                self.name.clear();
            }
            b'{' | b'[' => self.open(byte == b'{'),
            b'}' | b']' => return self.close(),
            b':' if self.is_here() => self.wants_name = false,
            b',' if self.is_here() => self.wants_name = true,
            _ => {}
        }
        None
    }

    fn text(&mut self, byte: u8) -> Option<Part<'static>> {
        if self.is_escaped {
            self.is_escaped = false;
        } else if byte == b'\\' {
            self.is_escaped = true;
        } else if byte == b'"' {
            self.in_text = false;
            return if self.is_name { self.named() } else { None };
        }
        if self.is_name && self.name.len() <= NAME {
            self.name.push(byte);
        }
        None
    }

    /// The name of a member of a container that is on the way.
    fn named(&mut self) -> Option<Part<'static>> {
        let is_in = |names: Name| names.iter().any(|name| name.as_bytes() == self.name);
        self.leads = self.way.get(self.on - 1).is_some_and(|names| is_in(*names));
        if self.name.contains(&b'\\') {
            return Some(Part::Escaped);
        }
        (self.on + 1 == self.way.len() && is_in(self.elsewhere)).then_some(Part::Elsewhere)
    }

    fn open(&mut self, is_object: bool) {
        if self.is_here() && self.leads {
            if is_object && self.on < self.way.len() {
                self.on += 1;
                self.wants_name = true;
                self.leads = false;
            } else if !is_object && self.on == self.way.len() {
                self.array = Some(self.depth + 1);
            }
        }
        self.depth += 1;
    }

    fn close(&mut self) -> Option<Part<'static>> {
        if self.array == Some(self.depth) {
            self.array = None;
        }
        self.depth = self.depth.saturating_sub(1);
        if self.on > self.depth {
            self.on = self.depth;
            self.wants_name = false;
        }
        if self.depth == 0 {
            self.is_closed = true;
            return Some(Part::Whole);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: [Name; 2] = [&["batch"], &["requests", "reqs"]];

    fn found(text: &str, size: usize) -> (Vec<String>, Vec<String>) {
        let mut elements = Elements::new(&WAY, &["file"]);
        let (mut whole, mut said, mut open) = (Vec::new(), Vec::new(), String::new());
        for piece in text.as_bytes().chunks(size) {
            elements.push(piece, &mut |part| match part {
                Part::Of(bytes) => open.push_str(std::str::from_utf8(bytes).unwrap()),
                Part::End => whole.push(std::mem::take(&mut open)),
                part => said.push(format!("{part:?}")),
            });
        }
        (whole, said)
    }

    #[test]
    fn elements_are_found_where_they_are_and_nowhere_else_however_the_document_is_cut() {
        let text = r#" {"requests": [{"no": 1}], "batch": {"x": {"requests": [{"no": 2}]}, "requests" : [ {"a": "]}\""}, 7, {"b": [{}]} ],
            "y": [{"no": 3}], "reqs": [{"c": {}}]}, "batch": [{"no": 4}], "batch": {"requests": [{"d": 1}], "n": "requests"}} "#;
        for size in [1, 3, 1_000] {
            let (elements, said) = found(text, size);
            assert_eq!(
                elements,
                [r#"{"a": "]}\""}"#, r#"{"b": [{}]}"#, r#"{"c": {}}"#, r#"{"d": 1}"#]
            );
            assert_eq!(said, ["Whole"]);
        }
    }

    #[test]
    fn what_may_be_any_name_is_told_and_so_is_what_says_that_the_requests_are_elsewhere() {
        assert_eq!(
            found(r#"{"b\u0061tch": {"requests": [{}]}}"#, 2).1,
            ["Escaped", "Whole"]
        );
        assert_eq!(
            found(r#"{"batch": {"file": "x"}, "file": 1}"#, 2).1,
            ["Elsewhere", "Whole"]
        );
        assert_eq!(found(r#"{"other": {"b\u0061tch": 1}}"#, 2).1, ["Whole"]);
        assert_eq!(found(r#"{"batch": {"requests": [{"#, 2).1, Vec::<String>::new());
    }
}
