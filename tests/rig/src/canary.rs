//! A key that stands in no other text, and the forms in which a text may tell it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Characters of a key's end that are enough to know it by.
const ENDING: usize = 8;

/// A unique key. It has no vendor's prefix, so that nothing takes it out by its looks, and characters that URLs and JSON write
/// in another way.
#[derive(Clone, Debug)]
pub struct Canary {
    key: String,
}

impl Canary {
    /// For one path: its name and some random characters make it unique.
    pub fn new(path: &str, random: u64) -> Self {
        let key = format!("cnry.{path}.{random:016x}/{:08x}+q7", random.rotate_left(23) >> 32);
        Self { key }
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its last characters: what a server leaves of a key that it masks.
    pub fn ending(&self) -> &str {
        &self.key[self.key.len() - ENDING..]
    }

    /// As it stands in a URL.
    pub fn in_url(&self) -> String {
        self.key.replace('/', "%2F").replace('+', "%2B")
    }

    /// As a server tells it, in each of the forms.
    pub fn told(&self) -> [(&'static str, String); 5] {
        [
            ("whole", self.key.clone()),
            ("masked", format!("****{}", self.ending())),
            ("in a URL", self.in_url()),
            ("in base64", STANDARD_NO_PAD.encode(&self.key)),
            (
                "as a header in base64",
                STANDARD_NO_PAD.encode(format!("Bearer {}", self.key)),
            ),
        ]
    }

    /// In which form a text tells the key, and what stands before it; `None`: in none.
    pub fn find(&self, text: &str) -> Option<String> {
        let mut needles = vec![
            ("its end", self.ending().to_owned()),
            ("in a URL", self.in_url()),
            ("as JSON writes it", self.key.replace('/', "\\/")),
        ];
        for before in 0..3 {
            let bytes = [&vec![0; before][..], self.key.as_bytes()].concat();
            let text = STANDARD_NO_PAD.encode(&bytes);
            let from = if before == 0 { 0 } else { 4 };
            needles.push(("in base64", text[from..bytes.len() / 3 * 4].to_owned()));
        }
        let (form, at) = needles
            .iter()
            .find_map(|(form, needle)| text.find(needle).map(|at| (form, at)))?;
        let mut from = at.saturating_sub(200);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        Some(format!("{form}, after: {}", &text[from..at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_is_told_is_found() {
        let canary = Canary::new("test", 0x1234_5678_9abc_def0);
        for (form, text) in canary.told() {
            assert!(canary.find(&format!("before {text} after")).is_some(), "{form}: {text}");
        }
        assert!(canary.find("cnry.test. ****").is_none());
    }
}
