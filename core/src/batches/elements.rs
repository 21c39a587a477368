//! The requests of a batch that are inlined in the document that makes it, taken out of it one by one as it comes.
//!
//! This is for rules about requests, so it must not be led astray: of an array that is there twice both are read, of two spellings
//! of a name both count, and what servers may read otherwise is told: a name on the way that is written with escapes, in other
//! letters' case or beyond ASCII, a document in another coding, and anything before or behind it.

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
    /// Servers may read it otherwise.
    Unclear(&'static str),
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
        if byte == 0 {
            // UTF-16 and UTF-32 cannot do without it.
            return Some(Part::Unclear("is not UTF-8"));
        }
        if self.in_text {
            return self.text(byte);
        }
        if self.depth == 0 && !byte.is_ascii_whitespace() && (byte != b'{' || self.is_closed) {
            return Some(Part::Unclear("is not one JSON object and nothing else"));
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
        let is = |names: Name| names.iter().any(|name| name.as_bytes() == self.name);
        let is_like = |names: Name| {
            names
                .iter()
                .any(|name| name.as_bytes().eq_ignore_ascii_case(&self.name))
        };
        let way = self.way.get(self.on - 1).copied().unwrap_or_default();
        let is_above = self.on + 1 == self.way.len();
        self.leads = is(way);
        if self.name.contains(&b'\\') {
            return Some(Part::Unclear("writes the name of a member with escapes"));
        }
        // Some servers take letters of either case, and to them a long s is an s.
        if is_like(way) && !self.leads
            || is_above && is_like(self.elsewhere) && !is(self.elsewhere)
            || !self.name.is_ascii()
        {
            return Some(Part::Unclear("writes the name of a member in other letters"));
        }
        (is_above && is(self.elsewhere)).then_some(Part::Elsewhere)
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
    fn what_is_not_one_object_in_utf_8_is_told() {
        let fine = r#"{"batch": {"requests": [{}]}}"#;
        for text in [
            format!("\u{feff}{fine}"),
            format!("[{fine}]"),
            format!("{fine}{fine}"),
            format!("{fine},"),
        ] {
            let said = found(&text, 3).1;
            assert!(said.iter().any(|it| it.contains("one JSON object")), "{text}: {said:?}");
        }
        for encode in [u16::to_le_bytes, u16::to_be_bytes] {
            let text: Vec<u8> = fine.encode_utf16().flat_map(encode).collect();
            let said = found(std::str::from_utf8(&text).unwrap(), 5).1;
            assert!(said.iter().any(|it| it.contains("not UTF-8")), "{said:?}");
        }
        assert_eq!(found(&format!("\r\n{fine}\n "), 4).1, ["Whole"]);
    }

    #[test]
    fn what_may_be_any_name_is_told_and_so_is_what_says_that_the_requests_are_elsewhere() {
        assert_eq!(
            found(r#"{"b\u0061tch": {"requests": [{}]}}"#, 2).1,
            [r#"Unclear("writes the name of a member with escapes")"#, "Whole"]
        );
        for other in [
            r#"{"BATCH": {"requests": [{}]}}"#,
            r#"{"batch": {"Requests": [{}]}}"#,
            r#"{"batch": {"reque\u{17f}ts": [{}]}}"#,
            r#"{"File": "x"}"#,
        ] {
            let other = other.replace("\\u{17f}", "\u{17f}");
            let wanted = r#"Unclear("writes the name of a member in other letters")"#;
            assert_eq!(found(&other, 2).1, [wanted, "Whole"], "{other}");
        }
        assert_eq!(
            found(r#"{"batch": {"file": "x"}, "file": 1}"#, 2).1,
            ["Elsewhere", "Whole"]
        );
        assert_eq!(found(r#"{"other": {"b\u0061tch": 1}}"#, 2).1, ["Whole"]);
        assert_eq!(found(r#"{"batch": {"requests": [{"#, 2).1, Vec::<String>::new());
    }
}
