//! What batches used: read from their results while these pass by to whoever asked for them.
//!
//! They are lines, or, of a small batch of Gemini's, one JSON document, the batch's operation. Nothing is held but the result that is
//! being read, up to [`LINE`] bytes. A result that is longer, of one model too many, or that
//! cannot be read is left out and counted. What is no batch's result, such as another file of lines, counts as nothing.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cost::{Cost, Picodollars, Unpriced};
use crate::dialect::{Dialect, Terms, Usage, reported_model, usage};
use crate::record::Spent;

mod elements;
mod form;
mod inlined;
pub mod outputs;
pub mod requests;
#[cfg(test)]
mod tests;

use inlined::{Inlined, Part};

/// The longest result that is read, bytes: text answers are some KiB.
pub const LINE: usize = 1 << 20;
/// Most models of one batch that are told apart.
pub const MODELS: usize = 16;
/// The longest id of a batch or of a file of results, bytes.
const ID: usize = 128;

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A line each.
    Lines,
    /// Within the operation of the batch, which is asked for as long as it runs as well.
    Operation,
}

/// The batch, or the file of results, whose contents a path below a provider's address stands for. `path`: unescaped.
///
/// Letters of either case are one, as they are to some servers.
pub fn results_of(dialect: Dialect, path: &str) -> Option<(Form, &str)> {
    let parts = segments(path);
    let (form, id) = match (dialect, parts.as_slice()) {
        (Dialect::OpenAiChat | Dialect::OpenAiResponses, [.., files, id, content])
            if is(files, "files") && is(content, "content") =>
        {
            (Form::Lines, *id)
        }
        (Dialect::AnthropicMessages, [.., messages, batches, id, results])
            if is(messages, "messages") && is(batches, "batches") && is(results, "results") =>
        {
            (Form::Lines, *id)
        }
        (Dialect::Gemini, [.., files, last]) if is(files, "files") => {
            let (id, verb) = last.rsplit_once(':')?;
            (Form::Lines, Some(id).filter(|_| is(verb, "download"))?)
        }
        (Dialect::Gemini, [.., batches, id]) if is(batches, "batches") => (Form::Operation, *id),
        _ => return None,
    };
    is_id(id).then_some((form, id))
}

/// The parts of a path. Some servers cut parameters off before they look.
fn segments(path: &str) -> Vec<&str> {
    let plain = path.trim_matches('/').split('/');
    plain.map(|part| part.split(';').next().unwrap_or_default()).collect()
}

fn is(part: &str, word: &str) -> bool {
    part.eq_ignore_ascii_case(word)
}

fn is_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=ID).contains(&text.len()) && text.bytes().all(is_plain) && !matches!(text, "." | "..")
}

/// What one model used in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// The model, as the answers name it.
    pub model: String,
    /// Answers.
    pub answers: u64,
    /// Their tokens.
    pub usage: Usage,
    /// What these cost at a batch's prices, each priced by itself; or why that is not known of one of them.
    pub cost: Result<(Picodollars, String), Unpriced>,
}

impl Sum {
    /// Its tokens as a record has them.
    pub fn spent(&self) -> Spent {
        Spent {
            reported: Some(self.usage),
            ..Spent::default()
        }
    }

    /// Its cost as a record has it.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn cost(&self) -> Result<Cost<'_>, Unpriced> {
        let (reported, version) = self.cost.as_ref().map_err(|why| *why)?;
        Ok(Cost {
            reported: *reported,
            estimated: Picodollars::ZERO,
            version,
        })
    }
}

/// Reads results as they come.
#[derive(Debug)]
pub struct Results {
    dialect: Dialect,
    form: Form,
    /// Where in the document it is, if it is one.
    inlined: Option<Box<Inlined>>,
    line: Vec<u8>,
    is_too_long: bool,
    /// By model, in the order in which they came.
    pub sums: Vec<Sum>,
    /// Results that are no answers: refused, expired, cancelled.
    pub unanswered: u64,
    /// Results that were left out.
    pub left_out: u64,
}

#[derive(Deserialize)]
struct Failed<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    custom_id: Option<&'a RawValue>,
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

/// What a line is.
enum Found<'a> {
    /// No result of a batch.
    Nothing,
    /// A result without an answer.
    Unanswered,
    Answer(&'a RawValue),
}

impl Results {
    /// Of a provider that speaks this dialect.
    pub fn new(dialect: Dialect, form: Form) -> Self {
        Self {
            dialect,
            form,
            inlined: (form == Form::Operation).then(Box::default),
            line: Vec::new(),
            is_too_long: false,
            sums: Vec::new(),
            unanswered: 0,
            left_out: 0,
        }
    }

    /// The next piece. `price`: what so much of a model costs.
    pub fn push<'p>(&mut self, piece: &[u8], price: &dyn Fn(&str, &Spent) -> Result<Cost<'p>, Unpriced>) {
        if let Some(mut inlined) = self.inlined.take() {
            inlined.push(piece, |part| match part {
                Part::Of(bytes) => self.take(bytes),
                Part::End => self.end_line(price),
            });
            self.inlined = Some(inlined);
            return;
        }
        let mut rest = piece;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            self.take(line);
            self.end_line(price);
            rest = after.get(1..).unwrap_or_default();
        }
        self.take(rest);
    }

    /// All is here. A batch that still runs has no results yet.
    pub fn end<'p>(&mut self, price: &dyn Fn(&str, &Spent) -> Result<Cost<'p>, Unpriced>) {
        match &self.inlined {
            None => self.end_line(price),
            Some(inlined) if !inlined.is_whole() => self.sums.clear(),
            Some(_) => {}
        }
    }

    fn end_line<'p>(&mut self, price: &dyn Fn(&str, &Spent) -> Result<Cost<'p>, Unpriced>) {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.is_too_long) {
            self.left_out += 1;
        } else if !line.trim_ascii().is_empty() {
            self.read(&line, price);
        }
        // The next line goes where this one was.
        self.line = line;
        self.line.clear();
    }

    fn take(&mut self, part: &[u8]) {
        if self.line.len() + part.len() > LINE {
            self.is_too_long = true;
            self.line.clear();
        }
        if !self.is_too_long {
            self.line.extend_from_slice(part);
        }
    }

    fn read<'p>(&mut self, line: &[u8], price: &dyn Fn(&str, &Spent) -> Result<Cost<'p>, Unpriced>) {
        let body = match found(self.dialect, self.form, line) {
            Found::Nothing => return,
            Found::Unanswered => {
                self.unanswered += 1;
                return;
            }
            Found::Answer(body) => body.get().as_bytes(),
        };
        // An embedding's usage is a conversation's; a response's has other names.
        let dialect = match self.dialect {
            Dialect::OpenAiChat if memchr::memmem::find(body, b"\"input_tokens\"").is_some() => {
                Dialect::OpenAiResponses
            }
            dialect => dialect,
        };
        let (Some(mut used), Some(model)) = (usage(dialect, body), reported_model(dialect, body)) else {
            self.left_out += 1;
            return;
        };
        used.terms = Terms::Batch;
        let spent = Spent {
            reported: Some(used),
            ..Spent::default()
        };
        let cost = price(&model, &spent).map(|cost| (cost.reported, cost.version.to_owned()));
        if let Some(sum) = self.sums.iter_mut().find(|sum| sum.model == *model) {
            sum.add(&used, cost);
        } else if self.sums.len() < MODELS {
            self.sums.push(Sum {
                model: model.into_owned(),
                answers: 1,
                usage: used,
                cost,
            });
        } else {
            self.left_out += 1;
        }
    }
}

impl Sum {
    fn add(&mut self, used: &Usage, cost: Result<(Picodollars, String), Unpriced>) {
        self.answers += 1;
        let sum = &mut self.usage;
        sum.input = sum.input.saturating_add(used.input);
        sum.output = sum.output.saturating_add(used.output);
        sum.cached = sum.cached.saturating_add(used.cached);
        sum.cache_write = sum.cache_write.saturating_add(used.cache_write);
        sum.reasoning = sum.reasoning.saturating_add(used.reasoning);
        sum.cache_write_hour = sum.cache_write_hour.saturating_add(used.cache_write_hour);
        sum.searches = sum.searches.saturating_add(used.searches);
        match (&mut self.cost, cost) {
            (Ok((sum, _)), Ok((more, _))) => *sum = sum.plus(more),
            (Ok(_), Err(why)) => self.cost = Err(why),
            (Err(_), _) => {}
        }
    }
}

fn found(dialect: Dialect, form: Form, line: &[u8]) -> Found<'_> {
    let Ok(line) = serde_json::from_slice::<Line<'_>>(line) else {
        return Found::Nothing;
    };
    let answer = match dialect {
        Dialect::AnthropicMessages => {
            let (Some(_), Some(result)) = (line.custom_id, line.result) else {
                return Found::Nothing;
            };
            serde_json::from_str::<Outcome<'_>>(result.get())
                .ok()
                .and_then(|it| it.message)
        }
        Dialect::OpenAiChat | Dialect::OpenAiResponses => {
            let Some(_) = line.custom_id else { return Found::Nothing };
            let response = line
                .response
                .and_then(|it| serde_json::from_str::<Response<'_>>(it.get()).ok());
            response.and_then(|it| it.body)
        }
        Dialect::Gemini => {
            // Within the operation a key is the caller's to give.
            if form == Form::Lines && line.key.is_none() {
                return Found::Nothing;
            }
            line.response
        }
    };
    // A body that is an error has used nothing. What a tool is called with may have a member of that name as well.
    let is_answer = |body: &&RawValue| {
        serde_json::from_str::<Failed<'_>>(body.get())
            .is_ok_and(|body| !body.error.is_some_and(|error| error.get().starts_with('{')))
    };
    answer.filter(is_answer).map_or(Found::Unanswered, Found::Answer)
}
