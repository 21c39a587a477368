//! HTTP/1.1 as bytes: an answer read, a request written, and how far a request has come.

use serde_json::Value;

/// A request with a JSON body.
pub fn post(path: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nhost: sidecar\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A request without a body, the last one of its connection.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: sidecar\r\nconnection: close\r\n\r\n")
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// The head as it came.
    pub head: String,
    /// Header fields in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body without its transfer coding.
    pub body: Vec<u8>,
    /// The HTTP chunks, where it came in chunks; the last may be half.
    pub chunks: Vec<Vec<u8>>,
    /// Whether the body came to its proper end.
    pub complete: bool,
}

impl Reply {
    /// Reads an answer and how many bytes it is long; `None` if more is needed. `ended`: nothing more will come. `Err`: it is
    /// no HTTP.
    pub fn read(bytes: &[u8], ended: bool) -> Result<Option<(Self, usize)>, httparse::Error> {
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut head = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(at) = head.parse(bytes)? else {
            return Ok(None);
        };
        let headers: Vec<(String, String)> = head
            .headers
            .iter()
            .map(|field| {
                (
                    field.name.to_ascii_lowercase(),
                    String::from_utf8_lossy(field.value).into_owned(),
                )
            })
            .collect();
        let status = head.code.unwrap_or_default();
        let mut reply = Self {
            status,
            head: String::from_utf8_lossy(&bytes[..at]).into_owned(),
            headers,
            body: Vec::new(),
            chunks: Vec::new(),
            complete: false,
        };
        let used = at + reply.read_body(&bytes[at..]);
        Ok((reply.complete || ended).then_some((reply, used)))
    }

    /// Takes the body out of `bytes`; returns how many bytes that were.
    fn read_body(&mut self, bytes: &[u8]) -> usize {
        if matches!(self.status, 204 | 304) {
            self.complete = true;
            return 0;
        }
        if self.header("transfer-encoding") == "chunked" {
            let used = self.dechunk(bytes);
            self.body = self.chunks.concat();
            return used;
        }
        let length = self.header("content-length").parse::<usize>();
        self.complete = length.as_ref().is_ok_and(|length| bytes.len() >= *length);
        self.body = bytes[..length.unwrap_or(bytes.len()).min(bytes.len())].to_vec();
        self.body.len()
    }

    /// Takes the chunks out of `bytes`; returns how many bytes that were.
    fn dechunk(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(&bytes[at..]) {
            let size = usize::try_from(size).unwrap();
            let from = at + line;
            if size == 0 {
                self.complete = bytes[from..].starts_with(b"\r\n");
                return from + if self.complete { 2 } else { 0 };
            }
            let chunk = &bytes[from.min(bytes.len())..(from + size).min(bytes.len())];
            self.chunks.push(chunk.to_vec());
            if from + size + 2 > bytes.len() {
                return bytes.len();
            }
            at = from + size + 2;
        }
        at
    }

    /// The first value of a header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error's code, in any dialect's body.
    pub fn code(&self) -> String {
        let json: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        code_in(&json)
    }

    /// Who answered.
    pub fn provider(&self) -> &str {
        self.header("x-bowsprit-provider")
    }

    /// The data of the events.
    pub fn events(&self) -> Vec<String> {
        self.text()
            .lines()
            .filter_map(|line| line.strip_prefix("data: ").map(str::to_owned))
            .collect()
    }

    /// The code of the stream's error event, if it has one.
    pub fn stream_error(&self) -> Option<String> {
        let events = self.events();
        let json = events
            .iter()
            .filter_map(|event| serde_json::from_str::<Value>(event).ok());
        json.map(|event| code_in(&event)).find(|code| !code.is_empty())
    }

    /// Whether the end mark of the caller's dialect is there.
    pub fn is_ended_well(&self) -> bool {
        let text = self.text();
        text.contains("data: [DONE]") || text.contains("\"message_stop\"") || text.contains("\"finishReason\"")
    }
}

/// Our code in an error body or error event of any dialect.
fn code_in(json: &Value) -> String {
    json["error"]["bowsprit_code"].as_str().unwrap_or_default().to_owned()
}

/// Whether `bytes` hold a request with the whole body that its `content-length` promises.
pub fn is_whole(bytes: &[u8]) -> bool {
    let Some(at) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&bytes[..at]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.map_or(0, |length| length.trim().parse::<usize>().unwrap_or(0));
    bytes.len() >= at + 4 + length
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\nHTTP/1.1";

    #[test]
    fn an_answer_ends_where_its_framing_says_and_not_before() {
        let (reply, used) = Reply::read(CHUNKED, false).unwrap().unwrap();
        assert_eq!((reply.text().as_str(), reply.complete), ("hello", true));
        assert_eq!(reply.chunks, [b"hel".to_vec(), b"lo".to_vec()]);
        assert_eq!(&CHUNKED[used..], b"HTTP/1.1");
        for cut in 0..used {
            assert!(Reply::read(&CHUNKED[..cut], false).unwrap().is_none(), "{cut} bytes");
        }
    }

    #[test]
    fn an_answer_that_breaks_off_is_told_from_a_whole_one() {
        let length = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        assert!(Reply::read(length, false).unwrap().unwrap().0.complete);
        let (half, _) = Reply::read(&length[..length.len() - 1], true).unwrap().unwrap();
        assert_eq!((half.text().as_str(), half.complete), ("hell", false));
        let (half, _) = Reply::read(&CHUNKED[..CHUNKED.len() - 13], true).unwrap().unwrap();
        assert!(!half.complete, "the last chunk is missing");
    }

    #[test]
    fn a_request_is_whole_with_the_body_that_it_promises() {
        let whole = post("/x", &serde_json::json!({"a": 1}));
        assert!(is_whole(whole.as_bytes()));
        assert!(!is_whole(&whole.as_bytes()[..whole.len() - 1]));
        assert!(is_whole(get("/").as_bytes()));
    }
}
