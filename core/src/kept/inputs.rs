//! Embeddings input by input: a request taken apart, the part of it that is still to be asked, and the answer put together in the
//! caller's order. Each input has a key of its own, which says whose it is, of which route and model, and with which parameters.

use bytes::Bytes;

use super::LARGEST_REQUEST;
use super::key::{Key, Prefix};
use super::vector::Vector;
use crate::dialect::embeddings::EmbeddingsApi;
use crate::dialect::meant;
use crate::json::{self, Error, Map, Pull, Value, json};

/// The largest body that is taken apart, bytes: some hundred thousand tokens, which is more than an API takes in one request. Reading one takes
/// some milliseconds, in which nothing else is done.
pub const LARGEST_BATCH: usize = 2 << 20;
/// So many inputs of one request at most are told apart: APIs take 2,048.
pub const MOST_INPUTS: usize = 8192;
/// The largest that may stand beside the inputs, bytes.
const LARGEST_BESIDE: usize = 64 << 10;

/// A request taken apart.
#[derive(Debug)]
pub struct Split {
    form: EmbeddingsApi,
    /// All but the inputs: what they share.
    shared: Map,
    /// As they stand in the body. No tree is made of more than one at a time, as that takes many times the text.
    inputs: Vec<Bytes>,
    /// Whether the inputs are a list.
    is_list: bool,
}

/// The member that holds the inputs.
fn member(form: EmbeddingsApi) -> &'static str {
    match form {
        EmbeddingsApi::OpenAi => "input",
        EmbeddingsApi::One => "content",
        EmbeddingsApi::Batch => "requests",
    }
}

impl Split {
    /// `None`: it is not a request that is understood here, and so one for the provider to judge; or it is larger than what is read for keys
    /// ([`LARGEST_BATCH`], [`MOST_INPUTS`], [`LARGEST_REQUEST`] each).
    pub fn of(form: EmbeddingsApi, body: &Bytes) -> Option<Self> {
        if body.len() > LARGEST_BATCH {
            return None;
        }
        let mut pull = Pull::new(body).ok()?;
        if !pull.is_object() {
            return None;
        }
        let (mut shared, mut beside, mut found) = (Map::new(), 0, None);
        // Some servers take a name in other letters for it, and of the two the last: nobody knows what is asked for.
        let mut has_other = false;
        let read = pull.members(&mut |name, at| {
            has_other |= meant(name, &[member(form)]).is_some();
            if name == member(form) {
                found = inputs(form, at)?;
                return Ok(());
            }
            let text = at.skip()?;
            beside += text.len();
            if beside <= LARGEST_BESIDE {
                shared.insert(name.to_owned(), json::parse(text.as_bytes())?);
            }
            Ok(())
        });
        read.and_then(|()| pull.end()).ok()?;
        let (inputs, is_list) = found.filter(|_| beside <= LARGEST_BESIDE && !has_other)?;
        let fits = |input: &&str| {
            let begins = match form {
                EmbeddingsApi::OpenAi => input.starts_with('"') || is_list_of_any(input),
                EmbeddingsApi::One | EmbeddingsApi::Batch => input.starts_with('{'),
            };
            begins && input.len() <= LARGEST_REQUEST
        };
        (!inputs.is_empty() && inputs.iter().all(fits)).then(|| Self {
            form,
            shared,
            inputs: inputs.iter().map(|input| body.slice_ref(input.as_bytes())).collect(),
            is_list,
        })
    }

    /// The key of each input.
    pub fn keys(&self, prefix: &Prefix) -> Option<Vec<Key>> {
        let prefix = prefix.with(&Value::Object(self.shared.clone()))?;
        let key = |input: &Bytes| prefix.key(&json::parse(input).ok()?);
        self.inputs.iter().map(key).collect()
    }

    /// What the inputs share, so that they can be asked for again ([`batch`]), and by what that is known.
    pub fn shared(&self, prefix: &Prefix) -> Option<(Key, String)> {
        let shared = Value::Object(self.shared.clone());
        let kind = prefix.with(&shared)?.key(&Value::Null)?;
        Some((kind, shared.to_string()))
    }

    /// The input at this place, as JSON.
    pub fn text(&self, place: usize) -> Option<String> {
        let input = self.inputs.get(place)?;
        String::from_utf8(input.to_vec()).ok()
    }

    /// The request for these of the inputs alone, by their places.
    pub fn only(&self, places: &[usize]) -> Bytes {
        let shared = Value::Object(self.shared.clone()).to_string();
        let chosen = places.iter().filter_map(|place| self.inputs.get(*place));
        written(self.form, &shared, chosen.map(|input| &**input), self.is_list)
    }
}

/// The inputs at this place as they stand there, and whether they are a list.
fn inputs<'a>(form: EmbeddingsApi, at: &mut Pull<'a>) -> Result<Option<(Vec<&'a str>, bool)>, Error> {
    if form == EmbeddingsApi::One || !at.is_array() {
        let one = at.skip()?;
        return Ok((form != EmbeddingsApi::Batch).then(|| (vec![one], false)));
    }
    let whole = at.ahead().skip()?;
    let (mut list, mut count, mut are_tokens) = (Vec::new(), 0_usize, true);
    at.items(&mut |at| {
        let item = at.skip()?;
        count += 1;
        are_tokens &= item.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        if count <= MOST_INPUTS {
            list.push(item);
        }
        Ok(())
    })?;
    // One list of tokens is one input.
    if form == EmbeddingsApi::OpenAi && are_tokens {
        return Ok(Some((vec![whole], false)));
    }
    Ok((count <= MOST_INPUTS).then_some((list, true)))
}

/// Whether a value is a list with anything in it.
fn is_list_of_any(text: &str) -> bool {
    text.strip_prefix('[')
        .is_some_and(|rest| !rest.trim_start().starts_with(']'))
}

/// A request for these inputs, each as JSON, which share this ([`Split::shared`]); of `embedContent` for the first one.
pub fn batch<'a>(form: EmbeddingsApi, shared: &str, inputs: impl Iterator<Item = &'a str>) -> Bytes {
    written(form, shared, inputs.map(str::as_bytes), form != EmbeddingsApi::One)
}

/// The same of inputs that are a list, or of the first one alone.
fn written<'a>(form: EmbeddingsApi, shared: &str, inputs: impl Iterator<Item = &'a [u8]>, is_list: bool) -> Bytes {
    let mut inputs = inputs.peekable();
    let mut body = shared.strip_suffix('}').unwrap_or(shared).as_bytes().to_vec();
    if !body.ends_with(b"{") {
        body.push(b',');
    }
    body.extend_from_slice(Value::from(member(form)).to_string().as_bytes());
    body.push(b':');
    if is_list {
        body.push(b'[');
        while let Some(input) = inputs.next() {
            body.extend_from_slice(input);
            if inputs.peek().is_some() {
                body.push(b',');
            }
        }
        body.push(b']');
    } else {
        body.extend_from_slice(inputs.next().unwrap_or(b"null"));
    }
    body.push(b'}');
    Bytes::from(body)
}

/// What stands around each vector of an answer, and around all of them, bytes.
const AROUND_A_VECTOR: usize = 64;
const AROUND_ALL: usize = 512;

/// An answer taken apart.
#[derive(Debug)]
pub struct Parted {
    /// The vectors, in the order of the inputs.
    pub vectors: Vec<Vector>,
    /// The model that the answer names; empty where it names none.
    pub model: String,
    /// All but the vectors: usage, model, and what else it says.
    shared: Map,
}

impl Parted {
    /// An answer to so many inputs. `None`: it is not what its API promises, or says more of a vector than is kept. Of its vectors one at a
    /// time is a tree.
    pub fn of(form: EmbeddingsApi, answer: &[u8], inputs: usize) -> Option<Self> {
        let mut pull = Pull::new(answer).ok()?;
        if !pull.is_object() {
            return None;
        }
        let (mut shared, mut found) = (Map::new(), None);
        let read = pull.members(&mut |name, at| {
            if name == vectors_in(form) {
                found = vectors(form, at)?;
            } else {
                shared.insert(name.to_owned(), json::parse(at.skip()?.as_bytes())?);
            }
            Ok(())
        });
        read.and_then(|()| pull.end()).ok()?;
        let vectors: Vec<Vector> = found?;
        let model = shared
            .get("model")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        (vectors.len() == inputs).then_some(Self { vectors, model, shared })
    }

    /// What was asked for before, and came to nothing, is billed all the same: its tokens count as well.
    pub fn and_spent(&mut self, before: &Self) {
        for member in ["usage", "usageMetadata"] {
            let Some(Value::Object(spent)) = before.shared.get(member) else {
                continue;
            };
            let Some(Value::Object(usage)) = self.shared.get_mut(member) else {
                continue;
            };
            for (name, more) in spent {
                let sum = usage.get(name).and_then(Value::as_u64).zip(more.as_u64());
                if let Some((tokens, more)) = sum {
                    usage.insert(name.clone(), Value::from(tokens.saturating_add(more)));
                }
            }
        }
    }

    /// What an answer says for which nobody was asked: no tokens were spent.
    pub fn unasked(form: EmbeddingsApi, model: &str) -> Self {
        let shared = match form {
            EmbeddingsApi::OpenAi => json!({
                "object": "list", "model": model, "usage": {"prompt_tokens": 0, "total_tokens": 0},
            }),
            EmbeddingsApi::One | EmbeddingsApi::Batch => json!({}),
        };
        Self {
            vectors: Vec::new(),
            model: model.to_owned(),
            shared: shared.as_object().cloned().unwrap_or_default(),
        }
    }

    /// About how many bytes an answer with these vectors is, rather too many than too few.
    pub fn about_bytes<'a>(vectors: impl Iterator<Item = &'a Vector>) -> usize {
        let each = |vector: &Vector| vector.about_bytes_written() + AROUND_A_VECTOR;
        vectors.map(each).sum::<usize>() + AROUND_ALL
    }

    /// The whole answer with these vectors, which are those of all inputs in their order. Its usage is of what was asked.
    pub fn joined<'a>(&self, form: EmbeddingsApi, vectors: impl Iterator<Item = &'a Vector> + Clone) -> Vec<u8> {
        // At once: one that grows as it is written is in memory twice while it is moved.
        let mut out = Vec::with_capacity(Self::about_bytes(vectors.clone()));
        begin(form, &mut out);
        for (place, vector) in vectors.enumerate() {
            write(form, place, vector, &mut out);
        }
        self.end(form, &mut out);
        out
    }

    /// The same piece by piece, each written when it is wanted: of the whole there is never more than one in memory. `vector`: that of
    /// what holds it.
    pub fn pieces<T>(
        self,
        form: EmbeddingsApi,
        held: Vec<T>,
        vector: fn(&T) -> &Vector,
    ) -> impl Iterator<Item = Bytes> {
        let written = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            Bytes::from(out)
        };
        let first = std::iter::once_with(move || written(&|out| begin(form, out)));
        let each = held
            .into_iter()
            .enumerate()
            .map(move |(place, held)| written(&|out| write(form, place, vector(&held), out)));
        let last = std::iter::once_with(move || written(&|out| self.end(form, out)));
        first.chain(each).chain(last)
    }

    fn end(&self, form: EmbeddingsApi, out: &mut Vec<u8>) {
        out.extend_from_slice(match form {
            EmbeddingsApi::One => b"",
            EmbeddingsApi::OpenAi | EmbeddingsApi::Batch => b"]",
        });
        for (name, value) in &self.shared {
            out.extend_from_slice(format!(",{}:{value}", Value::from(name.as_str())).as_bytes());
        }
        out.push(b'}');
    }
}

/// The beginning of an answer, up to its first vector.
fn begin(form: EmbeddingsApi, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{{}:", Value::from(vectors_in(form))).as_bytes());
    out.extend_from_slice(match form {
        EmbeddingsApi::One => b"",
        EmbeddingsApi::OpenAi | EmbeddingsApi::Batch => b"[",
    });
}

/// The vector of this place, and what stands around it.
fn write(form: EmbeddingsApi, place: usize, vector: &Vector, out: &mut Vec<u8>) {
    if place > 0 {
        out.push(b',');
    }
    match form {
        EmbeddingsApi::OpenAi => {
            out.extend_from_slice(format!("{{\"object\":\"embedding\",\"index\":{place},\"embedding\":").as_bytes());
        }
        EmbeddingsApi::One | EmbeddingsApi::Batch => out.extend_from_slice(b"{\"values\":"),
    }
    vector.write(out);
    out.push(b'}');
}

/// The member of an answer that holds the vectors.
fn vectors_in(form: EmbeddingsApi) -> &'static str {
    match form {
        EmbeddingsApi::OpenAi => "data",
        EmbeddingsApi::One => "embedding",
        EmbeddingsApi::Batch => "embeddings",
    }
}

/// The vectors at this place, in the order of the inputs. `None`: they are not what the API promises.
fn vectors(form: EmbeddingsApi, at: &mut Pull<'_>) -> Result<Option<Vec<Vector>>, Error> {
    if form == EmbeddingsApi::One {
        let one = values(&json::parse(at.skip()?.as_bytes())?);
        return Ok(one.map(|one| vec![one]));
    }
    if !at.is_array() {
        return at.skip().map(|_| None);
    }
    let (mut placed, mut is_read) = (Vec::new(), true);
    at.items(&mut |at| {
        let text = at.skip()?;
        if !is_read {
            return Ok(());
        }
        let item = json::parse(text.as_bytes())?;
        let found = match form {
            EmbeddingsApi::OpenAi => indexed(&item),
            EmbeddingsApi::One | EmbeddingsApi::Batch => values(&item).map(|vector| (placed.len() as u64, vector)),
        };
        is_read = found.is_some();
        placed.extend(found);
        Ok(())
    })?;
    placed.sort_by_key(|(index, _)| *index);
    let is_whole = placed.iter().zip(0..).all(|((index, _), place)| *index == place);
    Ok((is_read && is_whole).then(|| placed.into_iter().map(|(_, vector)| vector).collect()))
}

/// A vector of OpenAI's, and its place.
fn indexed(item: &Value) -> Option<(u64, Vector)> {
    only(item, &["object", "index", "embedding"])?;
    Some((item.get("index")?.as_u64()?, Vector::of(item.get("embedding")?)?))
}

/// A vector of Gemini's.
fn values(embedding: &Value) -> Option<Vector> {
    only(embedding, &["values"])?;
    Vector::of(embedding.get("values")?)
}

/// `None` where there are other members than these.
fn only(value: &Value, names: &[&str]) -> Option<()> {
    let members = value.as_object()?;
    members.keys().all(|name| names.contains(&name.as_str())).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Call, Operation};
    use crate::dialect::Dialect;
    use crate::kept::key::{Asked, Whose};

    fn keys(form: EmbeddingsApi, body: &str, headers: &[(&str, &str)]) -> Vec<Key> {
        let split = Split::of(form, &Bytes::copy_from_slice(body.as_bytes())).unwrap();
        split.keys(&prefix(form, headers)).unwrap()
    }

    fn prefix(form: EmbeddingsApi, headers: &[(&str, &str)]) -> Prefix {
        let call = Call::new(Dialect::OpenAiChat, Operation::Embed(form));
        let asked = Asked {
            route: "r",
            operation: "embeddings",
            call: &call,
            query: None,
            keys_in_query: None,
            caller: "",
            guards: &[],
            body: b"",
        };
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        asked.prefix(headers, Whose::TheCallers)
    }

    fn openai(body: &str) -> Vec<Key> {
        keys(EmbeddingsApi::OpenAi, body, &[])
    }

    #[test]
    fn an_input_has_one_key_wherever_it_stands_and_another_with_other_parameters() {
        let batch = openai(r#"{"input":["a","b","a"],"model":"m"}"#);
        assert_eq!((batch[0], batch.len()), (batch[2], 3));
        assert_ne!(batch[0], batch[1]);
        assert_eq!(openai(r#"{"model":"m","input":"b"}"#), [batch[1]]);
        for other in [
            r#"{"model":"m","input":"b","dimensions":8}"#,
            r#"{"model":"n","input":"b"}"#,
            r#"{"model":"m","input":"b","encoding_format":"base64"}"#,
            r#"{"model":"m","input":"c"}"#,
            r#"{"model":"m","input":[1,2]}"#,
        ] {
            assert_ne!(openai(other), [batch[1]], "{other}");
        }
        let whose = |key| {
            keys(
                EmbeddingsApi::OpenAi,
                r#"{"model":"m","input":"b"}"#,
                &[("authorization", key)],
            )
        };
        assert_ne!(whose("Bearer a"), whose("Bearer b"));
        let gemini = r#"{"requests":[{"content":{"parts":[{"text":"a"}]},"taskType":"X"},{"content":{"parts":[{"text":"a"}]}}]}"#;
        let gemini = keys(EmbeddingsApi::Batch, gemini, &[]);
        assert_ne!(gemini[0], gemini[1], "a parameter of its own");
    }

    #[test]
    fn only_what_is_missing_is_asked_for_with_all_else_as_it_was() {
        let of = |form, body: &'static str| Split::of(form, &Bytes::from_static(body.as_bytes()));
        let split = of(
            EmbeddingsApi::OpenAi,
            r#"{"model":"m","input":["a",[1,2],"c"],"dimensions":8}"#,
        )
        .unwrap();
        let only = split.only(&[1, 2]);
        assert_eq!(only, r#"{"model":"m","dimensions":8,"input":[[1,2],"c"]}"#);
        let one = of(EmbeddingsApi::OpenAi, r#"{"model":"m","input":[1,2]}"#).unwrap();
        assert_eq!(one.only(&[0]), r#"{"model":"m","input":[1,2]}"#);
        let batch = of(EmbeddingsApi::Batch, r#"{"requests":[{"content":1},{"content":2}]}"#).unwrap();
        assert_eq!(batch.only(&[1]), r#"{"requests":[{"content":2}]}"#);
        for (form, none) in [
            (EmbeddingsApi::OpenAi, r#"{"model":"m"}"#),
            (EmbeddingsApi::OpenAi, r#"{"input":[]}"#),
            (EmbeddingsApi::OpenAi, r#"{"input":["a",7]}"#),
            (EmbeddingsApi::OpenAi, r#"{"input":null}"#),
            (EmbeddingsApi::OpenAi, r#"{"input":["a"],"Input":["b"]}"#),
            (EmbeddingsApi::OpenAi, "[]"),
            (EmbeddingsApi::Batch, r#"{"requests":{}}"#),
            (EmbeddingsApi::Batch, r#"{"requests":["a"]}"#),
            (EmbeddingsApi::One, r#"{"content":"a"}"#),
        ] {
            assert!(of(form, none).is_none(), "{none}");
        }
    }

    #[test]
    fn an_answer_is_put_together_in_the_callers_order_with_the_usage_of_what_was_asked() {
        let answer = br#"{"object":"list","data":[{"object":"embedding","index":1,"embedding":[0.25]},{"object":"embedding","index":0,"embedding":[0.5]}],"model":"m-2","usage":{"prompt_tokens":3,"total_tokens":3}}"#;
        let parted = Parted::of(EmbeddingsApi::OpenAi, answer, 2).unwrap();
        assert_eq!(parted.model, "m-2");
        let kept = Vector::of(&json!([1.5])).unwrap();
        let all = [&parted.vectors[0], &kept, &parted.vectors[1]];
        let joined = parted.joined(EmbeddingsApi::OpenAi, all.into_iter());
        assert!(Parted::about_bytes(all.into_iter()) >= joined.len());
        for form in [EmbeddingsApi::OpenAi, EmbeddingsApi::Batch, EmbeddingsApi::One] {
            let all = if form == EmbeddingsApi::One { &all[..1] } else { &all };
            let told = Parted::of(EmbeddingsApi::OpenAi, answer, 2).unwrap();
            let whole = told.joined(form, all.iter().copied());
            let pieces: Vec<_> = told.pieces(form, all.to_vec(), |held| held).collect();
            assert_eq!(pieces.len(), all.len() + 2);
            assert_eq!(pieces.concat(), whole, "piece by piece it is the same");
        }
        let expected = concat!(
            r#"{"data":[{"object":"embedding","index":0,"embedding":[0.5]},{"object":"embedding","index":1,"embedding":[1.5]},"#,
            r#"{"object":"embedding","index":2,"embedding":[0.25]}],"object":"list","model":"m-2","usage":{"prompt_tokens":3,"total_tokens":3}}"#
        );
        assert_eq!(String::from_utf8(joined).unwrap(), expected);
        let unasked = Parted::unasked(EmbeddingsApi::OpenAi, "m-2").joined(EmbeddingsApi::OpenAi, [&kept].into_iter());
        assert_eq!(
            String::from_utf8(unasked).unwrap(),
            r#"{"data":[{"object":"embedding","index":0,"embedding":[1.5]}],"object":"list","model":"m-2","usage":{"prompt_tokens":0,"total_tokens":0}}"#
        );
        let gemini = br#"{"embeddings":[{"values":[0.5]},{"values":[0.25]}]}"#;
        let parted = Parted::of(EmbeddingsApi::Batch, gemini, 2).unwrap();
        let joined = parted.joined(EmbeddingsApi::Batch, parted.vectors.iter());
        assert_eq!(joined, gemini);
        let one = br#"{"embedding":{"values":[0.5]}}"#;
        let parted = Parted::of(EmbeddingsApi::One, one, 1).unwrap();
        assert_eq!(parted.joined(EmbeddingsApi::One, parted.vectors.iter()), one);
    }

    #[test]
    fn what_two_answers_took_is_summed_up() {
        let of = |tokens: u32| {
            let answer = format!(
                r#"{{"data":[],"model":"m","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens},"detail":{{"a":1}}}}}}"#
            );
            Parted::of(EmbeddingsApi::OpenAi, answer.as_bytes(), 0).unwrap()
        };
        let mut second = of(4);
        second.and_spent(&of(3));
        assert_eq!(
            second.shared.get("usage").unwrap(),
            &json!({"prompt_tokens": 7, "total_tokens": 7, "detail": {"a": 1}})
        );
        let mut silent = Parted::unasked(EmbeddingsApi::One, "m");
        silent.and_spent(&of(3));
        assert!(
            silent.shared.get("usage").is_none(),
            "what an API does not tell is not told"
        );
    }

    #[test]
    fn inputs_that_are_asked_for_again_have_the_keys_that_they_had() {
        for (form, body) in [
            (
                EmbeddingsApi::OpenAi,
                r#"{"model":"m","input":["a","b"],"dimensions":8,"user":{"id":{}}}"#,
            ),
            (
                EmbeddingsApi::Batch,
                r#"{"requests":[{"content":1},{"content":{"parts":[]}}]}"#,
            ),
            (
                EmbeddingsApi::One,
                r#"{"content":{"parts":[{"text":"a"}]},"taskType":"X"}"#,
            ),
        ] {
            let split = Split::of(form, &Bytes::copy_from_slice(body.as_bytes())).unwrap();
            let prefix = prefix(form, &[]);
            let (kind, shared) = split.shared(&prefix).unwrap();
            let texts: Vec<_> = (0..2).filter_map(|place| split.text(place)).collect();
            let again = batch(form, &shared, texts.iter().map(String::as_str));
            assert_eq!(
                keys(form, std::str::from_utf8(&again).unwrap(), &[]),
                keys(form, body, &[]),
                "{body}"
            );
            assert!(!split.keys(&prefix).unwrap().contains(&kind));
        }
    }

    #[test]
    fn what_is_larger_than_is_read_for_keys_is_not_taken_apart() {
        let of = |body: String| Split::of(EmbeddingsApi::OpenAi, &Bytes::from(body)).is_some();
        let list = |input: &str, times: usize| format!("{{\"input\":[{}]}}", vec![input; times].join(","));
        assert!(of(list("\"a\"", MOST_INPUTS)) && !of(list("\"a\"", MOST_INPUTS + 1)));
        assert!(of(list("[1]", MOST_INPUTS)) && !of(list("[1]", MOST_INPUTS + 1)));
        let tokens = LARGEST_REQUEST / 2 - 1;
        assert!(
            of(list("1", tokens)) && !of(list("1", tokens + 2)),
            "one list of tokens is one input"
        );
        let nested = |tokens: usize| list(&format!("[{}]", vec!["1"; tokens].join(",")), 2);
        assert!(of(nested(tokens)) && !of(nested(tokens + 2)));
        let text = |bytes: usize| list(&format!("\"{}\"", "x".repeat(bytes)), 8);
        assert!(of(text(LARGEST_REQUEST - 100)) && !of(text(LARGEST_REQUEST)));
        assert!(
            !of(list(&format!("\"{}\"", "x".repeat(LARGEST_REQUEST - 100)), 9)),
            "LARGEST_BATCH"
        );
        let beside = |bytes: usize| format!("{{\"input\":\"a\",\"user\":\"{}\"}}", "x".repeat(bytes));
        assert!(of(beside(LARGEST_BESIDE - 2)) && !of(beside(LARGEST_BESIDE)));
    }

    #[test]
    fn of_a_name_that_is_said_twice_the_last_counts() {
        let split = Bytes::from_static(br#"{"input":["a","b"],"model":"m", "input" : [ "c" , {} ],"input":"d"}"#);
        let split = Split::of(EmbeddingsApi::OpenAi, &split).unwrap();
        assert_eq!(split.only(&[0]), r#"{"model":"m","input":"d"}"#);
        let answer = br#"{"data":[{"index":0,"embedding":[1]}],"model":"m","data":[{"index":0,"embedding":[2]}]}"#;
        let parted = Parted::of(EmbeddingsApi::OpenAi, answer, 1).unwrap();
        assert_eq!(parted.vectors, [Vector::of(&json!([2])).unwrap()]);
    }

    #[test]
    fn what_is_not_understood_whole_is_not_taken_apart() {
        for answer in [
            r#"{"data":[{"index":0,"embedding":[0.5]}]}"#,
            r#"{"data":[{"index":0,"embedding":[0.5]},{"index":2,"embedding":[0.5]}]}"#,
            r#"{"data":[{"index":0,"embedding":[0.5]},{"index":0,"embedding":[0.5]}]}"#,
            r#"{"data":[{"index":0,"embedding":[0.5],"note":1},{"index":1,"embedding":[0.5]}]}"#,
            r#"{"data":[{"index":0,"embedding":[]},{"index":1,"embedding":[0.5]}]}"#,
            r#"{"data":{}}"#,
            "[]",
            "",
        ] {
            assert!(
                Parted::of(EmbeddingsApi::OpenAi, answer.as_bytes(), 2).is_none(),
                "{answer}"
            );
        }
        let more = br#"{"embeddings":[{"values":[0.5],"statistics":{}}]}"#;
        assert!(Parted::of(EmbeddingsApi::Batch, more, 1).is_none());
    }
}
