//! A form (`multipart/form-data`) that is read as it passes: its parts, by their names, and nothing held but what may be the edge
//! of one.
//!
//! This is for rules about what is in it, so what some servers read otherwise is not read at all: an edge without its line's
//! end, a part in another coding, a name that is given in two ways.

/// The longest head of a part, bytes.
const HEAD: usize = 4 << 10;
/// The longest boundary: RFC 2046, section 5.1.1.
const BOUNDARY: usize = 70;

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
        if name.trim().eq_ignore_ascii_case("boundary") {
            let value = value.trim();
            let value = value.strip_prefix('"').map_or(Some(value), |it| it.strip_suffix('"'))?;
            if found.replace(value).is_some() {
                return None;
            }
        }
    }
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b';');
    found.filter(|it| (1..=BOUNDARY).contains(&it.len()) && it.bytes().all(is_plain))
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
        if self.is_closed() {
            return Ok(());
        }
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
            At::Closed => Ok(None),
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
                self.at = match first {
                    b"--" => At::Closed,
                    b"\r\n" => At::Head,
                    _ => return Err(Unclear("something follows its boundary")),
                };
                // The line's end stays: an empty head is nothing but two of them.
                Ok(Some(rest))
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
    let mut found = None;
    for line in head.split("\r\n") {
        if line.starts_with([' ', '\t']) || line.contains(['\r', '\n']) {
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
            _ => {}
        }
    }
    found.ok_or(Unclear("a part has no name"))
}

fn is_plain(coding: &str) -> bool {
    let coding = coding.trim().to_ascii_lowercase();
    matches!(coding.as_str(), "7bit" | "8bit" | "binary")
}

/// The one name of a `form-data; name="…"; filename="…"`.
fn disposition(value: &str) -> Result<&str, Unclear> {
    const UNCLEAR: Unclear = Unclear("the name of a part is written in no plain way");
    let mut found = None;
    let mut rest = value.find(';').and_then(|at| value.get(at..)).unwrap_or_default();
    while let Some(parameter) = rest.strip_prefix(';') {
        let parameter = parameter.trim_start();
        if parameter.is_empty() {
            break;
        }
        let (field, value) = parameter.split_once('=').ok_or(UNCLEAR)?;
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or(UNCLEAR)?,
            None => value.split_at(value.find(';').unwrap_or(value.len())),
        };
        let is_name = field.trim().eq_ignore_ascii_case("name");
        // In a file's name an escaped quote is no end to some.
        let is_unclear = value.contains('\\') || field.trim().eq_ignore_ascii_case("name*");
        if is_unclear || is_name && found.replace(value.trim()).is_some() {
            return Err(UNCLEAR);
        }
        rest = after.trim_start();
    }
    found.filter(|_| rest.trim().is_empty() || rest == ";").ok_or(UNCLEAR)
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
                    Content-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--xx--\r\nbehind";
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
        ] {
            assert!(read(&text, 5).is_err(), "{text}");
        }
    }

    #[test]
    fn a_boundary_is_read_that_is_written_plainly() {
        assert_eq!(boundary("multipart/form-data; boundary=xx"), Some("xx"));
        assert_eq!(boundary("Multipart/Form-Data; charset=u; Boundary=\"x x\""), None);
        assert_eq!(boundary("multipart/form-data; boundary=\"xx\""), Some("xx"));
        for other in [
            "application/json",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=a; boundary=b",
            "multipart/form-data; boundary=\"a",
        ] {
            assert_eq!(boundary(other), None, "{other}");
        }
    }
}
