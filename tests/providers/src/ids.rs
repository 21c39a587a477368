//! Ids in each provider's own look, the same for the same place in the sequence of requests.

const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Unix seconds of the first request in every provider's answers: a fixed day, so that answers can be compared whole.
const EPOCH: u64 = 1_760_000_000;

/// Makes the ids of one answer.
pub(crate) struct Ids {
    request: u64,
    state: u64,
}

impl Ids {
    pub(crate) fn new(request: u64) -> Self {
        Self {
            request,
            state: request.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x0b05_591e,
        }
    }

    /// When the answer says it was created, in Unix seconds.
    pub(crate) fn created(&self) -> u64 {
        EPOCH + self.request
    }

    /// `prefix` and so many letters and digits (`chatcmpl-…`, `call_…`).
    pub(crate) fn alphanumeric(&mut self, prefix: &str, length: usize) -> String {
        self.letters(prefix, length, ALPHANUMERIC)
    }

    /// `prefix` and so many letters of base 58 (`msg_01…`, `toolu_01…`, `req_011C…`).
    pub(crate) fn base58(&mut self, prefix: &str, length: usize) -> String {
        self.letters(prefix, length, BASE58)
    }

    /// `prefix` and so many hexadecimal digits (`resp_…`, `fp_…`).
    pub(crate) fn hex(&mut self, prefix: &str, length: usize) -> String {
        self.letters(prefix, length, HEX)
    }

    fn letters(&mut self, prefix: &str, length: usize, alphabet: &[u8]) -> String {
        let mut id = String::with_capacity(prefix.len() + length);
        id.push_str(prefix);
        for _ in 0..length {
            let place = self.next() % alphabet.len() as u64;
            let letter = usize::try_from(place).ok().and_then(|place| alphabet.get(place));
            id.extend(letter.map(|letter| char::from(*letter)));
        }
        id
    }

    /// `SplitMix64`: all a test's ids need, without a dependency.
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A vector of length 1 that depends on `text` alone, as an embedding should, and is close to that of a text which is written alike:
/// the sum of a direction by chance for each three letters that follow each other. It knows nothing of meaning, so what differs in a
/// word or a digit is closer than any model would have it.
pub fn embedding(text: &str, dimensions: usize) -> Vec<f32> {
    let letters: Vec<char> = format!("  {}  ", text.trim().to_lowercase()).chars().collect();
    let mut raw = vec![0.0_f32; dimensions];
    for three in letters.windows(3) {
        let hash = three.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, letter| {
            (hash ^ u64::from(u32::from(*letter))).wrapping_mul(0x0100_0000_01b3)
        });
        let mut ids = Ids::new(hash);
        for value in &mut raw {
            *value += f32::from((ids.next() >> 48) as u16) / 32_768.0 - 1.0;
        }
    }
    let length = raw
        .iter()
        .map(|value| value * value)
        .sum::<f32>()
        .sqrt()
        .max(f32::MIN_POSITIVE);
    raw.into_iter().map(|value| value / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_depend_on_the_request_alone() {
        assert_eq!(Ids::new(3).base58("msg_01", 22), Ids::new(3).base58("msg_01", 22));
        assert_ne!(Ids::new(3).base58("msg_01", 22), Ids::new(4).base58("msg_01", 22));
        assert_eq!(Ids::new(0).hex("fp_", 10).len(), 13);
    }

    #[test]
    fn embeddings_have_length_one_and_tell_texts_apart() {
        let one = embedding("one", 1536);
        let length: f32 = one.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-3, "{length}");
        assert_eq!(one, embedding("one", 1536));
        assert_ne!(one, embedding("two", 1536));
        let likeness = |one: &str, other: &str| {
            let (one, other) = (embedding(one, 384), embedding(other, 384));
            one.iter().zip(&other).map(|(one, other)| one * other).sum::<f32>()
        };
        let (near, far) = ("what is the capital of Austria", "how long is a day");
        assert!(likeness("what is the capital of Australia", near) > 0.8);
        assert!(likeness("what is the capital of Australia", far) < 0.5);
    }
}
