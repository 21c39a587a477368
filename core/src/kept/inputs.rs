//! Embeddings input by input: a request taken apart, the part of it that is still to be asked, and the answer put together in the
//! caller's order. Each input has a key of its own, which says whose it is, of which route and model, and with which parameters.

use bytes::Bytes;

use super::key::{Key, Prefix};
use super::vector::Vector;
use crate::dialect::embeddings::EmbeddingsApi;
use crate::json::{self, Map, Value, json};

/// A request taken apart.
#[derive(Debug)]
pub struct Split {
    form: EmbeddingsApi,
    /// All but the inputs: what they share.
    shared: Map,
    inputs: Vec<Value>,
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
    /// `None`: it is not a request that is understood here, and so one for the provider to judge.
    pub fn of(form: EmbeddingsApi, body: &[u8]) -> Option<Self> {
        let Ok(Value::Object(mut shared)) = json::parse(body) else {
            return None;
        };
        let (inputs, is_list) = match (form, shared.remove(member(form))?) {
            (EmbeddingsApi::One, content) => (vec![content], false),
            // One list of tokens is one input.
            (EmbeddingsApi::OpenAi, Value::Array(list)) if list.iter().any(|item| !item.is_number()) => (list, true),
            (EmbeddingsApi::Batch, Value::Array(list)) => (list, true),
            (EmbeddingsApi::OpenAi, one) => (vec![one], false),
            (EmbeddingsApi::Batch, _) => return None,
        };
        let fits = |input: &Value| match form {
            EmbeddingsApi::OpenAi => input.is_string() || input.as_array().is_some_and(|list| !list.is_empty()),
            EmbeddingsApi::One | EmbeddingsApi::Batch => input.is_object(),
        };
        (!inputs.is_empty() && inputs.iter().all(fits)).then_some(Self {
            form,
            shared,
            inputs,
            is_list,
        })
    }

    /// The key of each input.
    pub fn keys(&self, prefix: &Prefix) -> Option<Vec<Key>> {
        let prefix = prefix.with(&Value::Object(self.shared.clone()))?;
        self.inputs.iter().map(|input| prefix.key(input)).collect()
    }

    /// What the inputs share, so that they can be asked for again ([`batch`]), and by what that is known.
    pub fn shared(&self, prefix: &Prefix) -> Option<(Key, String)> {
        let shared = Value::Object(self.shared.clone());
        let kind = prefix.with(&shared)?.key(&Value::Null)?;
        Some((kind, shared.to_string()))
    }

    /// The input at this place, as JSON.
    pub fn text(&self, place: usize) -> Option<String> {
        self.inputs.get(place).map(Value::to_string)
    }

    /// The request for these of the inputs alone, by their places.
    pub fn only(&self, places: &[usize]) -> Bytes {
        let mut body = self.shared.clone();
        let chosen: Vec<Value> = places
            .iter()
            .filter_map(|place| self.inputs.get(*place).cloned())
            .collect();
        let inputs = if self.is_list {
            Value::Array(chosen)
        } else {
            chosen.into_iter().next().unwrap_or(Value::Null)
        };
        body.insert(member(self.form).to_owned(), inputs);
        Bytes::from(Value::Object(body).to_string())
    }
}

/// A request for these inputs, each as JSON, which share this ([`Split::shared`]); of `embedContent` for the first one.
pub fn batch<'a>(form: EmbeddingsApi, shared: &str, inputs: impl Iterator<Item = &'a str>) -> Bytes {
    let mut inputs = inputs.peekable();
    let mut body = shared.strip_suffix('}').unwrap_or(shared).to_owned();
    if !body.ends_with('{') {
        body.push(',');
    }
    body.push_str(&Value::from(member(form)).to_string());
    body.push(':');
    if form == EmbeddingsApi::One {
        body.push_str(inputs.next().unwrap_or("null"));
    } else {
        body.push('[');
        while let Some(input) = inputs.next() {
            body.push_str(input);
            if inputs.peek().is_some() {
                body.push(',');
            }
        }
        body.push(']');
    }
    body.push('}');
    Bytes::from(body)
}

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
    /// An answer to so many inputs. `None`: it is not what its API promises, or says more of a vector than is kept.
    pub fn of(form: EmbeddingsApi, answer: &[u8], inputs: usize) -> Option<Self> {
        let Ok(Value::Object(mut shared)) = json::parse(answer) else {
            return None;
        };
        let vectors: Vec<Vector> = match form {
            EmbeddingsApi::OpenAi => {
                let Value::Array(data) = shared.remove("data")? else {
                    return None;
                };
                let mut placed: Vec<(u64, Vector)> = Vec::with_capacity(data.len());
                for item in &data {
                    only(item, &["object", "index", "embedding"])?;
                    placed.push((item.get("index")?.as_u64()?, Vector::of(item.get("embedding")?)?));
                }
                placed.sort_by_key(|(index, _)| *index);
                let is_whole = placed.iter().zip(0..).all(|((index, _), place)| *index == place);
                placed
                    .into_iter()
                    .map(|(_, vector)| is_whole.then_some(vector))
                    .collect::<Option<_>>()?
            }
            EmbeddingsApi::One => vec![values(&shared.remove("embedding")?)?],
            EmbeddingsApi::Batch => {
                let Value::Array(list) = shared.remove("embeddings")? else {
                    return None;
                };
                list.iter().map(values).collect::<Option<_>>()?
            }
        };
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

    /// The whole answer with these vectors, which are those of all inputs in their order. Its usage is of what was asked.
    pub fn joined<'a>(&self, form: EmbeddingsApi, vectors: impl Iterator<Item = &'a Vector>) -> Vec<u8> {
        let mut out = Vec::new();
        let (name, before, after): (&str, &[u8], &[u8]) = match form {
            EmbeddingsApi::OpenAi => ("data", b"[", b"]"),
            EmbeddingsApi::One => ("embedding", b"", b""),
            EmbeddingsApi::Batch => ("embeddings", b"[", b"]"),
        };
        out.push(b'{');
        out.extend_from_slice(Value::from(name).to_string().as_bytes());
        out.push(b':');
        out.extend_from_slice(before);
        for (place, vector) in vectors.enumerate() {
            if place > 0 {
                out.push(b',');
            }
            match form {
                EmbeddingsApi::OpenAi => {
                    out.extend_from_slice(
                        format!("{{\"object\":\"embedding\",\"index\":{place},\"embedding\":").as_bytes(),
                    );
                }
                EmbeddingsApi::One | EmbeddingsApi::Batch => out.extend_from_slice(b"{\"values\":"),
            }
            vector.write(&mut out);
            out.push(b'}');
        }
        out.extend_from_slice(after);
        for (name, value) in &self.shared {
            out.extend_from_slice(format!(",{}:{value}", Value::from(name.as_str())).as_bytes());
        }
        out.push(b'}');
        out
    }
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
        let split = Split::of(form, body.as_bytes()).unwrap();
        split.keys(&prefix(form, headers)).unwrap()
    }

    fn prefix(form: EmbeddingsApi, headers: &[(&str, &str)]) -> Prefix {
        let call = Call::new(Dialect::OpenAiChat, Operation::Embed(form));
        let asked = Asked {
            route: "r",
            operation: "embeddings",
            call: &call,
            query: None,
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
        let split = Split::of(
            EmbeddingsApi::OpenAi,
            br#"{"model":"m","input":["a",[1,2],"c"],"dimensions":8}"#,
        )
        .unwrap();
        let only = split.only(&[1, 2]);
        assert_eq!(only, r#"{"model":"m","dimensions":8,"input":[[1,2],"c"]}"#);
        let one = Split::of(EmbeddingsApi::OpenAi, br#"{"model":"m","input":[1,2]}"#).unwrap();
        assert_eq!(one.only(&[0]), r#"{"model":"m","input":[1,2]}"#);
        let batch = Split::of(EmbeddingsApi::Batch, br#"{"requests":[{"content":1},{"content":2}]}"#).unwrap();
        assert_eq!(batch.only(&[1]), r#"{"requests":[{"content":2}]}"#);
        for (form, none) in [
            (EmbeddingsApi::OpenAi, r#"{"model":"m"}"#),
            (EmbeddingsApi::OpenAi, r#"{"input":[]}"#),
            (EmbeddingsApi::OpenAi, r#"{"input":["a",7]}"#),
            (EmbeddingsApi::OpenAi, r#"{"input":null}"#),
            (EmbeddingsApi::OpenAi, "[]"),
            (EmbeddingsApi::Batch, r#"{"requests":{}}"#),
            (EmbeddingsApi::Batch, r#"{"requests":["a"]}"#),
            (EmbeddingsApi::One, r#"{"content":"a"}"#),
        ] {
            assert!(Split::of(form, none.as_bytes()).is_none(), "{none}");
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
            let split = Split::of(form, body.as_bytes()).unwrap();
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
