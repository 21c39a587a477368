//! Images, documents and their like: what they are, and whether the target takes them.
//!
//! What is here is judged by its bytes, since labels lie (`image/jpg`, a WebP named PNG by the program that saved it);
//! what is elsewhere by its label. Kinds that a target does not take are refused by their path, so that another candidate
//! is asked. Sources:
//! <https://docs.claude.com/en/docs/build-with-claude/vision#faq>,
//! <https://platform.openai.com/docs/guides/images-vision#image-input-requirements>,
//! <https://ai.google.dev/gemini-api/docs/image-understanding#supported-formats>.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::RequestError;
use super::message::{Media, MediaSource, Part, mime_of_url};
use super::rules::Rules;

/// Base64 that is decoded to tell the kind: more than any file's mark needs, and enough for the prologue of an SVG.
const HEAD: usize = 1024;

/// The piece of content as `to` takes it: with its standard name, or as text where it is text.
///
/// # Errors
/// `VAL_FIELD` where it is no base64 or empty, `VAL_UNSUPPORTED` where the target does not take its kind.
pub(super) fn judged(media: Media, to: &Rules) -> Result<Part, RequestError> {
    match media.source {
        MediaSource::Inline(_) => inline(media, to),
        MediaSource::Url(_) => by_url(media, to),
    }
}

fn inline(mut media: Media, to: &Rules) -> Result<Part, RequestError> {
    let MediaSource::Inline(data) = &media.source else {
        return Ok(Part::Media(media));
    };
    let data = standard_base64(data).ok_or_else(|| RequestError::field(&media.path, "must be base64"))?;
    if data.is_empty() {
        return Err(RequestError::field(&media.path, "must not be empty"));
    }
    let label = media.mime.as_deref().map(standard_name).unwrap_or_default();
    let mime = kind_of(&data, &label).map_or(label, str::to_owned);
    if let Some(problem) = refusal(&mime, to) {
        return match text_of(&mime, &data) {
            Some(text) => Ok(Part::Text(text)),
            None => Err(RequestError::unsupported(&media.path, problem)),
        };
    }
    let data = data.into_owned();
    media.source = MediaSource::Inline(data);
    media.mime = Some(mime);
    Ok(Part::Media(media))
}

fn by_url(mut media: Media, to: &Rules) -> Result<Part, RequestError> {
    let MediaSource::Url(url) = &media.source else {
        return Ok(Part::Media(media));
    };
    let begins = |scheme: &str| {
        url.get(..scheme.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(scheme))
    };
    if begins("data:") {
        return Err(RequestError::field(
            &media.path,
            "is no data URL: it must hold a comma and base64",
        ));
    }
    if !begins("http://") && !begins("https://") {
        let problem = "only http(s) URLs are supported by the chosen provider";
        return Err(RequestError::unsupported(&media.path, problem));
    }
    let mime = media.mime.as_deref().map(standard_name);
    let mime = mime.or_else(|| mime_of_url(url).filter(|_| to.names_media_of_urls).map(str::to_owned));
    if let Some(problem) = mime.as_deref().and_then(|mime| refusal(mime, to)) {
        return Err(RequestError::unsupported(&media.path, problem));
    }
    media.mime = mime;
    Ok(Part::Media(media))
}

/// What all APIs take: the pictures of the web, and documents.
pub(super) fn is_common(mime: &str) -> bool {
    matches!(
        mime,
        "image/png" | "image/jpeg" | "image/webp" | "image/gif" | "application/pdf"
    )
}

/// Why the target does not take it.
fn refusal(mime: &str, to: &Rules) -> Option<String> {
    let taken = (to.takes_media)(mime);
    let name = if mime.is_empty() {
        "a file of unknown kind"
    } else {
        mime
    };
    (!taken).then(|| format!("{name} is not supported by the chosen provider"))
}

/// What is text can be said as text.
fn text_of(mime: &str, base64: &str) -> Option<String> {
    let textual = mime.starts_with("text/")
        || matches!(
            mime,
            "application/json"
                | "application/xml"
                | "application/javascript"
                | "application/yaml"
                | "application/x-yaml"
        )
        || mime.ends_with("+json");
    if !textual {
        return None;
    }
    String::from_utf8(STANDARD.decode(base64).ok()?).ok()
}

/// Base64 in the standard letters, padded and without white space; none if it is no base64.
fn standard_base64(data: &str) -> Option<Cow<'_, str>> {
    let standard = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    let bare = data.trim_end_matches('=');
    if data.len().is_multiple_of(4) && data.len() - bare.len() <= 2 && bare.bytes().all(standard) {
        return Some(Cow::Borrowed(data));
    }
    let mut out = String::with_capacity(data.len() + 3);
    let mut ended = false;
    for byte in data.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        match byte {
            b'=' => ended = true,
            _ if ended => return None,
            b'-' => out.push('+'),
            b'_' => out.push('/'),
            byte if standard(byte) => out.push(char::from(byte)),
            _ => return None,
        }
    }
    match out.len() % 4 {
        1 => return None,
        2 => out.push_str("=="),
        3 => out.push('='),
        _ => {}
    }
    Some(Cow::Owned(out))
}

/// A media type in lower case, without parameters, by the name that it is registered under.
fn standard_name(label: &str) -> String {
    let bare = label.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match bare.as_str() {
        "image/jpg" | "image/pjpeg" | "image/jfif" | "image/x-jpeg" | "image/x-jpg" | "jpeg" | "jpg" => "image/jpeg",
        "image/x-png" | "image/apng" | "png" => "image/png",
        "image/x-webp" | "webp" => "image/webp",
        "gif" => "image/gif",
        "image/x-bmp" | "image/x-ms-bmp" => "image/bmp",
        "image/svg" => "image/svg+xml",
        "image/tif" => "image/tiff",
        "image/heic-sequence" => "image/heic",
        "image/heif-sequence" => "image/heif",
        "application/x-pdf" | "application/acrobat" | "text/pdf" | "text/x-pdf" | "pdf" => "application/pdf",
        "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => "audio/wav",
        "audio/x-mp3" | "audio/x-mpeg" | "audio/mpeg3" => "audio/mp3",
        "audio/x-flac" => "audio/flac",
        "audio/x-aiff" => "audio/aiff",
        "text/x-markdown" => "text/markdown",
        "application/octet-stream" | "binary/octet-stream" | "image/*" | "*/*" => "",
        _ => return bare,
    }
    .to_owned()
}

/// The kind that the first bytes tell, where it is another than the label says.
fn kind_of(base64: &str, label: &str) -> Option<&'static str> {
    let head = base64.get(..HEAD.min(base64.len()))?;
    let bytes = STANDARD.decode(head).ok()?;
    let kind = match bytes.as_slice() {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => "image/gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        [b'%', b'P', b'D', b'F', b'-', ..] => "application/pdf",
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => "image/tiff",
        // The two reserved words in the header are zero.
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => "image/bmp",
        [_, _, _, _, b'f', b't', b'y', b'p', a, b, c, d, ..] => match &[*a, *b, *c, *d] {
            // A still picture may name the family only; the label knows better.
            b"mif1" | b"msf1" | b"heif" if label == "image/heic" => return None,
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" if label == "image/heif" => return None,
            b"mif1" | b"msf1" | b"heif" => "image/heif",
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" => "image/heic",
            b"avif" | b"avis" => "image/avif",
            _ => return None,
        },
        // A drawing is text: only one that goes as a picture is meant as one.
        text if label.starts_with("image/") && is_svg(text) => "image/svg+xml",
        _ => return None,
    };
    Some(kind)
}

fn is_svg(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let holds = |mark: &[u8]| head.windows(mark.len()).any(|window| window == mark);
    head.starts_with(b"<svg") || (head.starts_with(b"<?xml") || head.starts_with(b"<!")) && holds(b"<svg")
}
