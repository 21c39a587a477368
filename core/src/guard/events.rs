//! Where the texts are in an event of a streamed answer, in the caller's dialect: those that go on in later events, and those
//! that are whole.

use std::borrow::Cow;

use super::body::Looker;
use super::channel::Key;
use crate::dialect::Dialect;
use crate::json::{Error, Pull};

/// What an event does to the texts of its answer, in order.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// One goes on.
    Text {
        /// Which.
        key: Key,
        /// Whether it is the text of a JSON document.
        is_json: bool,
        /// Where it stands, bytes, and how long it is there.
        at: (usize, usize),
        /// What it says.
        text: Cow<'a, str>,
    },
    /// Those of a choice, block or item have ended.
    End(u64),
    /// All have.
    EndAll,
}

/// Reads an event. What is whole is looked into by `looker`.
pub(super) fn read<'a>(
    dialect: Dialect,
    data: &'a [u8],
    looker: &mut Looker<'a>,
    steps: &mut Vec<Step<'a>>,
) -> Result<(), Error> {
    let mut pull = Pull::new(data)?;
    let mut reader = Reader { looker, steps };
    match dialect {
        Dialect::OpenAiChat => reader.chat(&mut pull)?,
        Dialect::AnthropicMessages => reader.messages(&mut pull)?,
        Dialect::OpenAiResponses => reader.responses(&mut pull)?,
        Dialect::Gemini => reader.gemini(&mut pull)?,
    }
    pull.end()
}

struct Reader<'r, 'a> {
    looker: &'r mut Looker<'a>,
    steps: &'r mut Vec<Step<'a>>,
}

impl<'a> Reader<'_, 'a> {
    /// A text that goes on; what is none is whole.
    fn text(&mut self, key: Key, is_json: bool, at: &mut Pull<'a>) -> Result<(), Error> {
        if !at.is_text() {
            return self.looker.member(key.name, at);
        }
        let text = at.ahead().text()?.unwrap_or_default();
        let at = self.looker.place(at.skip()?);
        self.steps.push(Step::Text { key, is_json, at, text });
        Ok(())
    }

    fn chat(&mut self, pull: &mut Pull<'a>) -> Result<(), Error> {
        pull.members(&mut |name, at| match name {
            "choices" => at.items(&mut |at| self.choice(at)),
            _ => Ok(()),
        })
    }

    fn choice(&mut self, at: &mut Pull<'a>) -> Result<(), Error> {
        let head = Head::of(at)?;
        let owner = head.index;
        let key = |name| Key { owner, part: 0, name };
        at.members(&mut |name, at| match name {
            "delta" => at.members(&mut |name, at| match name {
                "content" => self.text(key("content"), false, at),
                "refusal" => self.text(key("refusal"), false, at),
                "reasoning_content" => self.text(key("reasoning_content"), false, at),
                "reasoning" => self.text(key("reasoning"), false, at),
                "tool_calls" => at.items(&mut |at| self.call(owner, at)),
                "function_call" => self.arguments(
                    Key {
                        owner,
                        part: 0,
                        name: "arguments",
                    },
                    at,
                ),
                "audio" => at.members(&mut |name, at| match name {
                    "transcript" => self.text(key("transcript"), false, at),
                    _ => Ok(()),
                }),
                _ => self.looker.member(name, at),
            }),
            "text" => self.text(key("text"), false, at),
            _ => self.looker.member(name, at),
        })?;
        if head.is_finished {
            self.steps.push(Step::End(owner));
        }
        Ok(())
    }

    fn call(&mut self, owner: u64, at: &mut Pull<'a>) -> Result<(), Error> {
        let part = Head::of(at)?.index;
        at.members(&mut |name, at| match name {
            "function" => self.arguments(
                Key {
                    owner,
                    part,
                    name: "arguments",
                },
                at,
            ),
            "custom" => at.members(&mut |name, at| match name {
                "input" => self.text(
                    Key {
                        owner,
                        part,
                        name: "custom",
                    },
                    false,
                    at,
                ),
                _ => Ok(()),
            }),
            _ => self.looker.member(name, at),
        })
    }

    fn arguments(&mut self, key: Key, at: &mut Pull<'a>) -> Result<(), Error> {
        at.members(&mut |name, at| match name {
            "arguments" => self.text(key, true, at),
            _ => Ok(()),
        })
    }

    fn messages(&mut self, pull: &mut Pull<'a>) -> Result<(), Error> {
        let head = Head::of(pull)?;
        let owner = head.index;
        let key = |name| Key { owner, part: 0, name };
        pull.members(&mut |name, at| match name {
            "delta" => at.members(&mut |name, at| match name {
                "text" => self.text(key("text"), false, at),
                "partial_json" => self.text(key("partial_json"), true, at),
                _ => self.looker.member(name, at),
            }),
            "content_block" => self.looker.said(at),
            "message" => at.members(&mut |name, at| match name {
                "content" => self.looker.said(at),
                _ => Ok(()),
            }),
            _ => Ok(()),
        })?;
        match &*head.kind {
            "content_block_stop" => self.steps.push(Step::End(owner)),
            "message_delta" | "message_stop" => self.steps.push(Step::EndAll),
            _ => {}
        }
        Ok(())
    }

    fn responses(&mut self, pull: &mut Pull<'a>) -> Result<(), Error> {
        let head = Head::of(pull)?;
        let kind = &*head.kind;
        let is_delta = kind.as_bytes().ends_with(b".delta");
        // Of the item: its texts come one after the other.
        let owner = head.output_index.unwrap_or_default();
        if !is_delta && head.output_index.is_some() && !kind.starts_with("response.output_text.annotation") {
            self.steps.push(Step::End(owner));
        }
        if matches!(kind, "response.completed" | "response.incomplete" | "response.failed") {
            self.steps.push(Step::EndAll);
        }
        let is_json = kind.contains("arguments");
        let name = delta_name(kind);
        let part = head.part;
        pull.members(&mut |member, at| match member {
            "delta" if kind == "response.audio.delta" => Ok(()),
            "delta" => self.text(Key { owner, part, name }, is_json, at),
            "response" => at.members(&mut |name, at| match name {
                "output" | "output_text" => self.looker.said(at),
                _ => Ok(()),
            }),
            "text" | "refusal" | "arguments" | "item" | "part" | "annotation" | "transcript" | "code" | "input"
            | "logprobs" => self.looker.member(member, at),
            _ => Ok(()),
        })
    }

    fn gemini(&mut self, pull: &mut Pull<'a>) -> Result<(), Error> {
        pull.members(&mut |name, at| match name {
            "candidates" => at.items(&mut |at| self.candidate(at)),
            _ => Ok(()),
        })
    }

    fn candidate(&mut self, at: &mut Pull<'a>) -> Result<(), Error> {
        let head = Head::of(at)?;
        let owner = head.index;
        at.members(&mut |name, at| match name {
            "content" => at.members(&mut |name, at| match name {
                "parts" => at.items(&mut |at| self.part(owner, at)),
                _ => Ok(()),
            }),
            _ => self.looker.member(name, at),
        })?;
        if head.is_finished {
            self.steps.push(Step::End(owner));
        }
        Ok(())
    }

    fn part(&mut self, owner: u64, at: &mut Pull<'a>) -> Result<(), Error> {
        let head = Head::of(at)?;
        let name = if head.is_thought { "thought" } else { "text" };
        if !head.has_text {
            // A call, or data: what was said before has ended.
            self.steps.push(Step::End(owner));
        }
        at.members(&mut |member, at| match member {
            "text" => self.text(Key { owner, part: 0, name }, false, at),
            _ => self.looker.member(member, at),
        })
    }
}

/// What texts of Responses are told apart by beside their place.
fn delta_name(kind: &str) -> &'static str {
    match kind {
        "response.output_text.delta" => "text",
        "response.refusal.delta" => "refusal",
        "response.reasoning_summary_text.delta" => "summary",
        "response.reasoning_text.delta" => "reasoning",
        _ => "delta",
    }
}

/// What tells the texts of an object apart. It may stand behind them.
#[derive(Default)]
struct Head<'a> {
    kind: Cow<'a, str>,
    index: u64,
    output_index: Option<u64>,
    part: u64,
    is_finished: bool,
    is_thought: bool,
    has_text: bool,
}

impl<'a> Head<'a> {
    fn of(at: &Pull<'a>) -> Result<Self, Error> {
        let mut head = Self::default();
        at.ahead().members(&mut |name, at| {
            match name {
                "type" => head.kind = at.text()?.unwrap_or_default(),
                "index" => head.index = number(at.skip()?).unwrap_or_default(),
                "output_index" => head.output_index = number(at.skip()?),
                "content_index" | "summary_index" => head.part = number(at.skip()?).unwrap_or_default(),
                "finish_reason" | "finishReason" => head.is_finished = at.skip()? != "null",
                "thought" => head.is_thought = at.skip()? == "true",
                "text" => head.has_text = at.is_text(),
                _ => {}
            }
            Ok(())
        })?;
        Ok(head)
    }
}

fn number(raw: &str) -> Option<u64> {
    raw.trim().parse().ok()
}
