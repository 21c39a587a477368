//! A form (`multipart/form-data`) that is read as it passes: its parts, by their names, and nothing held but what may be the edge
//! of one.
//!
//! This is for rules about what is in it, so what some servers read otherwise is not read at all: an edge without its line's
//! end, a part in another coding, a name that is given in two ways, text behind the end.

/// The longest head of a part, bytes.
const HEAD: usize = 4 << 10;
/// The longest boundary: RFC 2046, section 5.1.1.
const BOUNDARY: usize = 70;

/// The part that says what a file is for.
pub(super) const PURPOSE: &str = "purpose";
/// The part that is the file.
pub(super) const FILE: &str = "file";
const UNCLEAR: Unclear = Unclear("the name of a part is written in no plain way");

/// What is found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// A part of this name begins.
    Begin(&'a str),
    /// Bytes of it.
    Of(&'a [u8]),
    /// It is whole.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the first part, or in one.
    Body,
    /// Behind an edge.
    Edge,
    /// In the head of a part.
    Head,
    /// Behind the last part.
    Closed,
}

/// A form on its way.
#[derive(Debug)]
pub(super) struct Form {
    /// Two dashes and the boundary.
    edge: Vec<u8>,
    held: Vec<u8>,
    at: At,
    in_part: bool,
}

/// A form that cannot be read for sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unclear(pub &'static str);

/// The boundary that the header `content-type` of a form names; none: it is no form, or says it in no plain way.
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let mut found = None;
    for parameter in parameters.split(';') {
        let (name, value) = parameter.trim().split_once('=')?;
        if name.eq_ignore_ascii_case("boundary") {
            if found.replace(bare(value)?).is_some() {
                return None;
            }
        } else if !name.eq_ignore_ascii_case("charset") || !is_utf8(value) {
            // Such as `boundary*`, which is one to some.
            return None;
        }
    }
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b';' | b',');
    found.filter(|it| (1..=BOUNDARY).contains(&it.len()) && it.bytes().all(is_plain))
}

/// A value without its quotes.
fn bare(value: &str) -> Option<&str> {
    value.strip_prefix('"').map_or(Some(value), |it| it.strip_suffix('"'))
}

/// Whether the value of a `charset` is the one that is read here.
fn is_utf8(charset: &str) -> bool {
    bare(charset).is_some_and(|it| it.eq_ignore_ascii_case("utf-8"))
}

/// Whether a `content-type` says nothing of a charset, or that it is the one that is read here.
pub(super) fn is_in_utf8(content_type: &str) -> bool {
    let told = content_type.to_ascii_lowercase();
    told.match_indices("charset").all(|(at, word)| {
        let value = told.get(at + word.len()..).and_then(|after| after.strip_prefix('='));
        value.is_some_and(|value| is_utf8(value.split(';').next().unwrap_or_default().trim_end()))
    })
}

impl Form {
    /// At the beginning of one with this boundary.
    pub(super) fn new(boundary: &str) -> Self {
        Self {
            edge: [b"--", boundary.as_bytes()].concat(),
            // The first edge may be at the very beginning.
            held: b"\r\n".to_vec(),
            at: At::Body,
            in_part: false,
        }
    }

    /// Whether its last part is whole.
    pub(super) fn is_closed(&self) -> bool {
        self.at == At::Closed
    }

    /// The next piece.
    ///
    /// # Errors
    /// Servers may read it in several ways.
    pub(super) fn push(&mut self, piece: &[u8], each: &mut dyn FnMut(Part<'_>)) -> Result<(), Unclear> {
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(piece);
        let mut rest = held.as_slice();
        let read = loop {
            match self.step(rest, each) {
                Ok(Some(after)) => rest = after,
                Ok(None) => break Ok(()),
                Err(unclear) => break Err(unclear),
            }
        };
        // What stays is short: it goes to the front, and the room is used again.
        let passed = held.len() - self.stays(rest, each);
        held.drain(..passed);
        self.held = held;
        read
    }

    /// One step; `None`: more has to come.
    fn step<'a>(&mut self, rest: &'a [u8], each: &mut dyn FnMut(Part<'_>)) -> Result<Option<&'a [u8]>, Unclear> {
        match self.at {
            // `--boundary--x` is no end to some, which read on.
            At::Closed if rest.iter().all(u8::is_ascii_whitespace) => Ok(None),
            At::Closed => Err(Unclear("something follows its end")),
            At::Body => {
                let Some(at) = memchr::memmem::find(rest, &self.edge) else {
                    return Ok(None);
                };
                let (before, after) = rest.split_at(at);
                let Some(before) = before.strip_suffix(b"\r\n") else {
                    return Err(Unclear("its boundary is within a line"));
                };
                if std::mem::take(&mut self.in_part) {
                    each(Part::Of(before));
                    each(Part::End);
                }
                self.at = At::Edge;
                Ok(after.get(self.edge.len()..))
            }
            At::Edge => {
                let Some(first) = rest.get(..2) else { return Ok(None) };
                match first {
                    b"--" => {
                        self.at = At::Closed;
                        Ok(rest.get(2..))
                    }
                    // The line's end stays: an empty head is nothing but two of them.
                    b"\r\n" => {
                        self.at = At::Head;
                        Ok(Some(rest))
                    }
                    _ => Err(Unclear("something follows its boundary")),
                }
            }
            At::Head => {
                let Some(end) = memchr::memmem::find(rest, b"\r\n\r\n") else {
                    return if rest.len() > HEAD {
                        Err(Unclear("the head of a part is too long"))
                    } else {
                        Ok(None)
                    };
                };
                let head = rest.get(2..end.max(2)).unwrap_or_default();
                each(Part::Begin(name(head)?));
                (self.at, self.in_part) = (At::Body, true);
                Ok(rest.get(end + 4..))
            }
        }
    }

    /// How many bytes at the end of what is left may belong to what is to come; what comes before them is told.
    fn stays(&self, rest: &[u8], each: &mut dyn FnMut(Part<'_>)) -> usize {
        if self.at != At::Body {
            return if self.at == At::Closed { 0 } else { rest.len() };
        }
        let stays = rest.len().min(self.edge.len() + 1);
        let told = rest.len() - stays;
        if self.in_part && told > 0 {
            each(Part::Of(rest.get(..told).unwrap_or_default()));
        }
        stays
    }
}

/// The name of a part by its head.
fn name(head: &[u8]) -> Result<&str, Unclear> {
    let head = std::str::from_utf8(head).map_err(|_| Unclear("the head of a part is not UTF-8"))?;
    let (mut found, mut is_utf8) = (None, true);
    for line in head.split("\r\n") {
        if line.starts_with([' ', '\t']) || line.contains(['\r', '\n', '\0']) {
            return Err(Unclear("the head of a part is folded"));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        match field.trim().to_ascii_lowercase().as_str() {
            "content-disposition" => {
                let name = disposition(value)?;
                if found.replace(name).is_some() {
                    return Err(Unclear("a part has two names"));
                }
            }
            "content-transfer-encoding" if !is_plain(value) => return Err(Unclear("a part is in another coding")),
            "content-type" => is_utf8 &= is_in_utf8(value),
            _ => {}
        }
    }
    match found {
        None => Err(Unclear("a part has no name")),
        Some(PURPOSE) if !is_utf8 => Err(Unclear("its purpose is in another charset")),
        Some("_charset_") => Err(Unclear("it names a charset of its own")),
        Some(name) if is_odd(name) => Err(UNCLEAR),
        Some(name) => Ok(name),
    }
}

/// Whether some servers may take it for another name, of those that matter.
fn is_odd(name: &str) -> bool {
    let plain = name.trim().to_ascii_lowercase();
    let is_like = plain.starts_with(PURPOSE) || plain == FILE;
    is_like && name != PURPOSE && name != FILE
        || name.contains(['%', '\\'])
        || name.contains("=?")
        || has_controls(name)
}

fn has_controls(text: &str) -> bool {
    text.contains(char::is_control)
}

fn is_plain(coding: &str) -> bool {
    let coding = coding.trim().to_ascii_lowercase();
    matches!(coding.as_str(), "7bit" | "8bit" | "binary")
}

/// The one name of a `form-data; name="…"; filename="…"`.
fn disposition(value: &str) -> Result<&str, Unclear> {
    let mut found = None;
    let mut rest = value.find(';').and_then(|at| value.get(at..)).unwrap_or_default();
    while let Some(parameter) = rest.strip_prefix(';') {
        let parameter = parameter.trim_start();
        if parameter.is_empty() {
            rest = parameter;
            break;
        }
        let (field, value) = parameter.split_once('=').ok_or(UNCLEAR)?;
        if !is_token(field) || field.to_ascii_lowercase().starts_with("name*") {
            return Err(UNCLEAR);
        }
        let (value, after) = if let Some(quoted) = value.strip_prefix('"') {
            quoted_end(quoted).ok_or(UNCLEAR)?
        } else {
            let (bare, after) = value.split_at(value.find(';').unwrap_or(value.len()));
            (Some(bare).filter(|bare| is_token(bare)).ok_or(UNCLEAR)?, after)
        };
        if field.eq_ignore_ascii_case("name") && found.replace(value).is_some() || has_controls(value) {
            return Err(UNCLEAR);
        }
        rest = after.trim_start();
    }
    found.filter(|_| rest.is_empty()).ok_or(UNCLEAR)
}

/// A quoted value, and what follows its quote. To some a backslash escapes a quote, to others it is a letter: where one stands
/// before a quote, no other parameter may begin before the value's end.
fn quoted_end(text: &str) -> Option<(&str, &str)> {
    let (mut is_escaped, mut quote) = (false, None);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => {
                is_escaped = false;
                if byte == b'"' {
                    quote = quote.or(Some(at));
                }
            }
            b'\\' => is_escaped = true,
            b'"' => {
                let value = text.get(..at)?;
                let behind = quote.and_then(|quote| value.get(quote..)).unwrap_or_default();
                return (!behind.contains([';', '='])).then_some((value, text.get(at + 1..)?));
            }
            _ => {}
        }
    }
    None
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_in = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, size: usize) -> Result<(Vec<(String, String)>, bool), Unclear> {
        let mut form = Form::new("xx");
        let (mut parts, mut open) = (Vec::new(), None);
        for piece in text.as_bytes().chunks(size) {
            form.push(piece, &mut |part| match part {
                Part::Begin(name) => open = Some((name.to_owned(), String::new())),
                Part::Of(bytes) => open.as_mut().unwrap().1.push_str(std::str::from_utf8(bytes).unwrap()),
                Part::End => parts.push(open.take().unwrap()),
            })?;
        }
        Ok((parts, form.is_closed()))
    }

    #[test]
    fn parts_are_read_whole_however_the_form_is_cut() {
        let text = "before\r\n--xx\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--xx\r\n\
                    content-type: x\r\ncontent-disposition: form-data; name=file; filename=\"a;b.jsonl\"\r\n\r\none\r\n-x\n\r\n--xx\r\n\
                    Content-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--xx--\r\n\r\n";
        for size in [1, 2, 7, 1_000] {
            let (parts, is_closed) = read(text, size).unwrap();
            let wanted = [("purpose", "batch"), ("file", "one\r\n-x\n"), ("empty", "")];
            let wanted = wanted.map(|(name, text)| (name.to_owned(), text.to_owned()));
            assert_eq!(parts, wanted, "{size}");
            assert!(is_closed);
        }
        assert_eq!(
            read("--xx\r\ncontent-disposition: form-data; name=a\r\n\r\nb", 3).unwrap(),
            (vec![], false)
        );
    }

    #[test]
    fn what_servers_may_read_otherwise_is_not_read() {
        let head = "Content-Disposition: form-data; name=\"a\"";
        for text in [
            format!("--xx\n{head}\n\nb\n--xx--"),
            format!("--xx\r\n{head}\r\n\r\nb\n--xx--"),
            format!("--xx \r\n{head}\r\n\r\nb\r\n--xx--"),
            "--xx\r\n\r\nb\r\n--xx--".to_owned(),
            format!("--xx\r\n{head}\r\n{head}\r\n\r\nb\r\n--xx--"),
            format!("--xx\r\n{head}; name=b\r\n\r\nb\r\n--xx--"),
            format!("--xx\r\n{head}; name*=UTF-8''b\r\n\r\nb\r\n--xx--"),
            format!("--xx\r\n{head}; filename=\"a\\\"; name=b\"\r\n\r\nb\r\n--xx--"),
            format!("--xx\r\n{head}\r\nContent-Transfer-Encoding: base64\r\n\r\nYg==\r\n--xx--"),
            format!("--xx\r\n{head};\r\n name=b\r\n\r\nb\r\n--xx--"),
            format!("--xx\r\n{head}\r\n\r\nb\r\n--xx--x\r\n{head}\r\n\r\nb\r\n--xx--"),
            part("name= \"purpose\""),
            part("name=\"a\", name=\"purpose\""),
            part("name=\"Purpose\""),
            part("name=\" purpose\""),
            part("name=\"purpose[]\""),
            part("name=\"%70urpose\""),
            part("name=\"pur\\pose\""),
            part("name=\"=?utf-8?B?cHVycG9zZQ==?=\""),
            part("name=\"File\""),
            part("name=\"_charset_\""),
            part("name=\"purpose\"\r\nContent-Type: text/plain; charset=utf-16"),
            part("name=\"x\"; filename=\"a\\\"; name=\"purpose\""),
            part("name=\"x\"; filename=\"a\\\\\"; name=\"purpose\""),
        ] {
            assert!(read(&text, 5).is_err(), "{text}");
        }
    }

    fn part(parameters: &str) -> String {
        format!("--xx\r\nContent-Disposition: form-data; {parameters}\r\n\r\nb\r\n--xx--\r\n")
    }

    #[test]
    fn a_part_is_read_however_clients_write_the_name_of_their_file() {
        for parameters in [
            "name=\"file\"; filename=\"two words; and=more.jsonl\"",
            "name=\"file\"; filename=\"Grüße 🚢.jsonl\"",
            "filename=\"a.jsonl\"; name=\"file\"",
            "name=\"file\"; filename=\"a.jsonl\"; filename*=UTF-8''Gr%C3%BC%C3%9Fe.jsonl",
            "name=\"file\"; filename*=utf-8''na%C3%AFve%20one.jsonl",
            // Go and curl's old releases escape; Windows does not.
            "name=\"file\"; filename=\"a \\\"quoted\\\" one.jsonl\"",
            "name=\"file\"; filename=\"C:\\\\dir\\\\a.jsonl\"",
            "name=\"file\"; filename=\"C:\\dir\\a.jsonl\"",
            "name=\"file\"; filename=\"%22quoted%22.jsonl\"",
            "name=\"file\"; filename=\"a.csv\"\r\nContent-Type: text/csv; charset=iso-8859-1",
            "name=file;filename=a.jsonl;",
        ] {
            let (parts, is_closed) = read(&part(parameters), 5).unwrap_or_else(|why| panic!("{parameters}: {why:?}"));
            assert_eq!(
                (parts, is_closed),
                (vec![("file".to_owned(), "b".to_owned())], true),
                "{parameters}"
            );
        }
    }

    #[test]
    fn a_boundary_is_read_that_is_written_plainly() {
        assert_eq!(boundary("multipart/form-data; boundary=xx"), Some("xx"));
        assert_eq!(boundary("Multipart/Form-Data; charset=u; Boundary=\"x x\""), None);
        assert_eq!(boundary("multipart/form-data; boundary=\"xx\""), Some("xx"));
        for plain in [
            "multipart/form-data; boundary=xx; charset=utf-8",
            "multipart/form-data;charset=\"UTF-8\";boundary=xx",
        ] {
            assert_eq!(boundary(plain), Some("xx"), "{plain}");
        }
        for (kind, wanted) in [
            ("application/json", true),
            ("application/json; charset=UTF-8", true),
            ("application/json; charset=\"utf-8\"; x=y", true),
            ("application/json; charset=utf-16", false),
            ("application/json; charset*=utf-8", false),
            ("application/json; charset=utf-8; charset=utf-7", false),
        ] {
            assert_eq!(is_in_utf8(kind), wanted, "{kind}");
        }
        for other in [
            "application/json",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=a; boundary=b",
            "multipart/form-data; boundary=\"a",
            "multipart/form-data; boundary=a; boundary*=utf-8''b",
            "multipart/form-data; boundary*0=a; boundary=b",
            "multipart/form-data; boundary=a; charset=utf-16",
            "multipart/form-data; boundary=a,b",
            "multipart/form-data; boundary =a; boundary=b",
        ] {
            assert_eq!(boundary(other), None, "{other}");
        }
    }
}
