//! What a request asks for beyond words: tools, images, files, structured output, …; read in one pass over its body, without
//! making anything of it.
//!
//! This is for rules about requests, so it must not be led astray: of a member that is there twice each counts, of two
//! spellings both do, escapes in names and values are resolved, one in other letters (`Tools`) is refused, and where the place and
//! the media type of a thing disagree it is both. What is said here of a request is never less than what its provider may read in it.

use crate::json::{Error, Pull};

use super::{RequestError, letters};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Features {
    /// Tools that the caller runs.
    pub tools: bool,
    /// Tools that belong to the provider's API.
    pub provider_tools: bool,
    /// Of these, one that searches or reads the web.
    pub web_search: bool,
    /// Of these, one that runs code.
    pub code_execution: bool,
    /// Images, or one is to be made.
    pub images: bool,
    /// Sound, or the answer is to be spoken.
    pub audio: bool,
    /// Video.
    pub video: bool,
    /// Documents and other files.
    pub files: bool,
    /// An answer that is JSON.
    pub structured_output: bool,
    /// To think, or to think more or less.
    pub thinking: bool,
    /// What the provider keeps is part of the input.
    pub stored_input: bool,
    /// The provider is to keep the answer, or does so unless it is told not to.
    pub stored_output: bool,
    /// How many answers are asked for.
    pub choices: u64,
    /// The temperature.
    pub temperature: Option<f64>,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            tools: false,
            provider_tools: false,
            web_search: false,
            code_execution: false,
            images: false,
            audio: false,
            video: false,
            files: false,
            structured_output: false,
            thinking: false,
            stored_input: false,
            stored_output: false,
            choices: 1,
            temperature: None,
        }
    }
}

/// What is done with a member of each of these names. One that is like them, and is none of them, is wrong: its provider may read it as the
/// one that it is like.
macro_rules! named {
    ($found:expr, $name:expr, { $($($known:literal)|+ $(if $cond:expr)? => $done:expr,)+ }) => {
        match $name {
            $($($known)|+ $(if $cond)? => $done,)+
            other => $found.other(other, &[$($($known),+),+]),
        }
    };
}
pub(super) use named;

/// What is found on the way.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub features: Features,
    choices: Option<u64>,
    /// What is wrong with a value that has to be read.
    wrong: Option<RequestError>,
}

impl Found {
    /// How many answers are asked for, in the field of this name.
    pub(super) fn choices(&mut self, path: &'static str, at: &mut Pull<'_>) -> Result<(), Error> {
        if let Some(number) = self.number(path, at)? {
            let is_first = self.choices.is_none();
            if number >= 0.0 && number.fract() == 0.0 && number < 1e9 && is_first {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
                let count = number as u64;
                self.choices = Some(count);
                self.features.choices = count;
            } else {
                let problem = if is_first {
                    "must be a whole number"
                } else {
                    "must be given once"
                };
                self.wrong(path, problem);
            }
        }
        Ok(())
    }

    /// The temperature, in the field of this name.
    pub(super) fn temperature(&mut self, path: &'static str, at: &mut Pull<'_>) -> Result<(), Error> {
        if let Some(number) = self.number(path, at)?
            && self.features.temperature.replace(number).is_some()
        {
            self.wrong(path, "must be given once");
        }
        Ok(())
    }

    fn number(&mut self, path: &'static str, at: &mut Pull<'_>) -> Result<Option<f64>, Error> {
        let text = at.skip()?;
        // Some servers take a number in quotes for one, so what is no number is not passed over.
        let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        let number = text.parse().ok().filter(|number: &f64| is_number && number.is_finite());
        if number.is_none() && text != "null" {
            self.wrong(path, "must be a number");
        }
        Ok(number)
    }

    /// A member whose name is none of these that are looked at.
    pub(super) fn other(&mut self, name: &str, known: &[&'static str]) {
        if let Some(meant) = letters::meant(name, known) {
            self.wrong.get_or_insert_with(|| letters::wrong(name, meant));
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// A number that has to be known is no number, or given twice; or a member that is looked at is written in other letters.
    pub(super) fn finish(self) -> Result<Features, RequestError> {
        self.wrong.map_or(Ok(self.features), Err)
    }

    fn wrong(&mut self, path: &str, problem: &str) {
        self.wrong.get_or_insert_with(|| RequestError::field(path, problem));
    }

    /// Something of this media type.
    pub(super) fn media(&mut self, mime: &str) {
        let kind = mime.trim_start().split('/').next().unwrap_or_default();
        let features = &mut self.features;
        match kind.to_ascii_lowercase().as_str() {
            "image" => features.images = true,
            "audio" => features.audio = true,
            "video" => features.video = true,
            _ => features.files = true,
        }
    }
}

/// Whether the value says anything: not null, not false, not empty.
pub(super) fn says(at: &mut Pull<'_>) -> Result<bool, Error> {
    let text = at.skip()?;
    let inside = || text.get(1..text.len().saturating_sub(1)).unwrap_or_default().trim();
    Ok(match text.as_bytes().first() {
        Some(b'n' | b'f') => false,
        Some(b'[' | b'"') => !inside().is_empty(),
        _ => true,
    })
}
