//! What is done with the texts of a body in place of looking into them: they are taken out, each with who says it, or others are put
//! in their place.

use bowsprit_crds::guards::Side;
use serde::Serialize;

use crate::json::{Error, Pull};

/// A text, and who says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// `system`, `user`, `assistant`, `tool`, or as the API has it.
    pub role: String,
    /// The text.
    pub text: String,
    /// The end of what its caller has of this text, where it goes on in a stream: it cannot be changed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub before: String,
}

impl Said {
    /// What a model says.
    pub(super) fn of_an_answer(text: String) -> Self {
        Self {
            role: ANSWERS.to_owned(),
            text,
            before: String::new(),
        }
    }

    /// What it takes in a question, bytes, at least.
    pub(super) fn size(&self) -> usize {
        self.text.len() + self.before.len() + self.role.len() + BESIDE
    }
}

/// Who says what is in an answer that does not say it.
const ANSWERS: &str = "assistant";

/// Bytes that a text takes besides itself and its role: in the list, by the allocator, and as JSON.
const BESIDE: usize = size_of::<Said>() + 48;
/// The least that a text takes in a question, bytes.
pub(super) const LEAST_SIZE: usize = BESIDE + 1;

/// What becomes of texts.
pub(super) struct Take {
    /// Who says what is being read.
    pub role: String,
    doing: Doing,
}

enum Doing {
    /// They are collected, up to so many bytes.
    Said { said: Vec<Said>, room: usize },
    /// Others are put in their place; one that stays is none.
    Put(std::vec::IntoIter<Option<String>>),
    /// There were more of them than room, or than others.
    TooMany,
}

impl Take {
    fn new(doing: Doing) -> Self {
        let role = String::new();
        Self { role, doing }
    }

    /// All of them, up to so many bytes.
    pub(super) fn all(room: usize) -> Self {
        let said = Vec::new();
        Self::new(Doing::Said { said, room })
    }

    /// The same of a part of an answer.
    pub(super) fn all_of_an_answer(room: usize) -> Self {
        Self {
            role: ANSWERS.to_owned(),
            ..Self::all(room)
        }
    }

    /// These in their place; one that stays is none.
    pub(super) fn put(texts: Vec<Option<String>>) -> Self {
        Self::new(Doing::Put(texts.into_iter()))
    }

    /// What was taken. `None`: it was more than there was room for.
    pub(super) fn said(self) -> Option<Vec<Said>> {
        match self.doing {
            Doing::Said { said, .. } => Some(said),
            Doing::Put(_) | Doing::TooMany => None,
        }
    }

    /// Whether there were as many others as texts.
    pub(super) fn is_even(&self) -> bool {
        matches!(&self.doing, Doing::Put(rest) if rest.as_slice().is_empty())
    }

    /// What follows is below this member of a body.
    pub(super) fn below(&mut self, name: &str, side: Side) {
        let role = match name {
            _ if side == Side::Answer => ANSWERS,
            "system" | "systemInstruction" | "system_instruction" | "instructions" => "system",
            _ => "user",
        };
        role.clone_into(&mut self.role);
    }

    /// What follows is this object, which may say by whom it is. Returns who speaks again behind it, where it does.
    pub(super) fn said_by(&mut self, at: &Pull<'_>) -> Result<Option<String>, Error> {
        let mut role = None;
        at.ahead().members(&mut |name, at| {
            if !matches!(name, "role" | "type") {
                return Ok(());
            }
            let text = at.text()?;
            match (name, text.as_deref()) {
                ("role", Some(text)) => role = Some(text.to_owned()),
                (_, Some("tool_result" | "function_call_output" | "custom_tool_call_output")) => {
                    role = Some("tool".to_owned());
                }
                (_, Some("function_call" | "custom_tool_call")) => role = Some("assistant".to_owned()),
                _ => {}
            }
            Ok(())
        })?;
        Ok(role.map(|role| std::mem::replace(&mut self.role, role)))
    }

    /// What becomes of a text; none: it stays.
    pub(super) fn one(&mut self, text: &str) -> Option<String> {
        if text.is_empty() {
            return None;
        }
        match &mut self.doing {
            Doing::Said { said, room } => {
                // Each takes its place in a list and in a JSON document besides: a million of empty roles and single letters is no small
                // question.
                let Some(left) = room.checked_sub(text.len() + self.role.len() + BESIDE) else {
                    self.doing = Doing::TooMany;
                    return None;
                };
                *room = left;
                said.push(Said {
                    role: self.role.clone(),
                    text: text.to_owned(),
                    before: String::new(),
                });
                None
            }
            Doing::Put(others) => {
                let other = others.next();
                if other.is_none() {
                    self.doing = Doing::TooMany;
                }
                other?.filter(|other| other != text)
            }
            Doing::TooMany => None,
        }
    }
}
