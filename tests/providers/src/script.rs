//! What a provider is told to do: steps used up in order, then standing rules, then the well-behaved default.
//!
//! Every type here is also the JSON of the control API, so a script reads the same in Rust and in `curl`.

mod answer;
mod status;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use answer::{After, Answer, Fault, LineEnd, Point, Tokens, ToolCall};
pub use status::{Raw, Status};

use crate::api::Api;

/// The whole script of one provider.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Used up front to back; the first that matches a request is taken.
    pub steps: Vec<Step>,
    /// Standing rules, asked when no step matches; the first that matches is taken.
    pub always: Vec<Rule>,
}

impl Script {
    /// Finds what to do with a request, and uses the step up.
    pub(crate) fn take(&mut self, facts: &Facts<'_>) -> Behaviour {
        if let Some(place) = self.steps.iter().position(|step| step.when.matches(facts)) {
            return self.use_up(place);
        }
        let rule = self.always.iter().find(|rule| rule.when.matches(facts));
        rule.map_or_else(Behaviour::default, |rule| rule.act.clone())
    }

    /// Takes the matching step or rule only if it refuses to read the body, which must be known before the body is read.
    pub(crate) fn take_refusal(&mut self, facts: &Facts<'_>) -> Option<Behaviour> {
        let refuses = |act: &Behaviour| matches!(act, Behaviour::RefuseBody { .. });
        if let Some(place) = self.steps.iter().position(|step| step.when.matches(facts)) {
            return self
                .steps
                .get(place)
                .is_some_and(|step| refuses(&step.act))
                .then(|| self.use_up(place));
        }
        let rule = self.always.iter().find(|rule| rule.when.matches(facts))?;
        refuses(&rule.act).then(|| rule.act.clone())
    }

    /// Whether a step or rule that names a path matches.
    pub(crate) fn names_path(&self, facts: &Facts<'_>) -> bool {
        let names = |when: &When| when.path.is_some() && when.matches(facts);
        self.steps.iter().any(|step| names(&step.when)) || self.always.iter().any(|rule| names(&rule.when))
    }

    /// Puts a standing rule in front of the others; one with the same condition is replaced.
    pub(crate) fn stand(&mut self, rule: Rule) {
        self.always.retain(|other| other.when != rule.when);
        // The rule for everything must not hide the narrower ones.
        let place = if rule.when == When::default() {
            self.always.len()
        } else {
            0
        };
        self.always.insert(place, rule);
    }

    fn use_up(&mut self, place: usize) -> Behaviour {
        let Some(step) = self.steps.get_mut(place) else {
            return Behaviour::default();
        };
        let act = step.act.clone();
        step.times = step.times.saturating_sub(1);
        if step.times == 0 {
            self.steps.remove(place);
        }
        act
    }
}

/// What is known of a request when the script is asked.
pub(crate) struct Facts<'a> {
    pub(crate) api: Api,
    pub(crate) path: &'a str,
    pub(crate) model: &'a str,
    pub(crate) key: Option<&'a str>,
    pub(crate) stream: bool,
}

/// Which requests are meant; what is left out matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// Only this API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<Api>,
    /// The path without its query; `*` stands for anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The model asked for; `*` stands for anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The key the request came with, exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Only streamed (or only plain) requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
}

impl When {
    /// Requests for the models that fit `pattern`.
    pub fn model(pattern: impl Into<String>) -> Self {
        Self {
            model: Some(pattern.into()),
            ..Self::default()
        }
    }

    /// Requests whose path fits `pattern`.
    pub fn path(pattern: impl Into<String>) -> Self {
        Self {
            path: Some(pattern.into()),
            ..Self::default()
        }
    }

    /// Requests to one API.
    pub fn api(api: Api) -> Self {
        Self {
            api: Some(api),
            ..Self::default()
        }
    }

    /// Requests that came with this key.
    pub fn key(key: impl Into<String>) -> Self {
        Self {
            key: Some(key.into()),
            ..Self::default()
        }
    }

    fn matches(&self, facts: &Facts<'_>) -> bool {
        self.api.is_none_or(|api| api == Api::All || api == facts.api)
            && self.path.as_deref().is_none_or(|pattern| fits(pattern, facts.path))
            && self.model.as_deref().is_none_or(|pattern| fits(pattern, facts.model))
            && self.key.as_deref().is_none_or(|key| facts.key == Some(key))
            && self.stream.is_none_or(|stream| stream == facts.stream)
    }
}

/// Whether `text` fits `pattern`, in which `*` stands for any run of characters.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    loop {
        if fits(rest, text) {
            return true;
        }
        let mut letters = text.chars();
        if letters.next().is_none() {
            return false;
        }
        text = letters.as_str();
    }
}

/// One behaviour for the next requests that match.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Which requests it is for; everything if left out.
    #[serde(default)]
    pub when: When,
    /// How many requests it lasts for; 1 if left out.
    #[serde(default = "once")]
    pub times: u32,
    /// What happens to them.
    #[serde(rename = "do")]
    pub act: Behaviour,
}

fn once() -> u32 {
    1
}

impl Step {
    /// A step for the next request.
    pub fn new(act: impl Into<Behaviour>) -> Self {
        Self {
            when: When::default(),
            times: 1,
            act: act.into(),
        }
    }

    /// Lets it last for `times` requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Narrows it to the requests that match.
    #[must_use]
    pub fn when(mut self, when: When) -> Self {
        self.when = when;
        self
    }
}

impl<B: Into<Behaviour>> From<B> for Step {
    fn from(act: B) -> Self {
        Self::new(act)
    }
}

/// A behaviour for every request that matches, as long as no step is left for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which requests it is for; everything if left out.
    #[serde(default)]
    pub when: When,
    /// What happens to them.
    #[serde(rename = "do")]
    pub act: Behaviour,
}

/// What a provider does with one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// Answers in the form that was asked for; the answer may carry a fault of the transport.
    Answer(Box<Answer>),
    /// Answers with a status and the provider's own error body.
    Status(Box<Status>),
    /// Reads the request and never answers.
    Hang,
    /// Reads the head and not one byte of the body. With a status it answers at once and then closes; without, it waits.
    RefuseBody {
        /// The early answer's status, such as 413.
        #[serde(default)]
        status: Option<u16>,
    },
    /// A proxy's 502 in front of the provider: an HTML page.
    Html502,
    /// Status 200 around an error body.
    ErrorIn200,
    /// Status 200 with no body at all.
    Empty200,
    /// A 302 to this address.
    Redirect(String),
    /// Bytes that are not HTTP, then a close.
    Garbage,
    /// Exactly these bytes in place of a response.
    Raw(Raw),
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::ok()
    }
}

impl Behaviour {
    /// The well-behaved default answer.
    pub fn ok() -> Self {
        Self::Answer(Box::default())
    }

    /// A well-behaved answer with this text.
    pub fn text(text: impl Into<String>) -> Self {
        Answer::new(text).into()
    }

    /// An answer with this status and the provider's own error body for it.
    pub fn status(code: u16) -> Status {
        Status {
            code,
            ..Status::default()
        }
    }

    /// Reads the request and never answers.
    pub fn hang() -> Self {
        Self::Hang
    }

    /// Goes silent after `after` pieces of content; in a plain answer, after half of the body.
    pub fn stall_after(after: u32) -> Self {
        Answer::default().fault(Fault::Stall { after }).into()
    }

    /// Resets the connection at a point of the answer.
    pub fn reset(at: Point) -> Self {
        Answer::default().fault(Fault::Reset { at }).into()
    }

    /// The word for it in counts and records.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Answer(answer) => answer.fault.as_ref().map_or("answer", Fault::as_str),
            Self::Status(_) => "status",
            Self::Hang => "hang",
            Self::RefuseBody { .. } => "refuse_body",
            Self::Html502 => "html502",
            Self::ErrorIn200 => "error_in200",
            Self::Empty200 => "empty200",
            Self::Redirect(_) => "redirect",
            Self::Garbage => "garbage",
            Self::Raw(_) => "raw",
        }
    }
}

impl From<Answer> for Behaviour {
    fn from(answer: Answer) -> Self {
        Self::Answer(Box::new(answer))
    }
}

impl From<Status> for Behaviour {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl From<Raw> for Behaviour {
    fn from(raw: Raw) -> Self {
        Self::Raw(raw)
    }
}

/// A wait as scripts count it.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(model: &'static str) -> Facts<'static> {
        Facts {
            api: Api::OpenAi,
            path: "/v1/chat/completions",
            model,
            key: Some("k"),
            stream: false,
        }
    }

    #[test]
    fn steps_are_used_up_and_then_the_standing_rule_holds() {
        let mut script = Script::default();
        script.stand(Rule {
            when: When::default(),
            act: Behaviour::Hang,
        });
        script
            .steps
            .push(Step::new(Behaviour::status(500)).times(2).when(When::model("gpt-*")));
        assert_eq!(script.take(&facts("other")), Behaviour::Hang);
        assert_eq!(script.take(&facts("gpt-4o")).as_str(), "status");
        assert_eq!(script.take(&facts("gpt-4o")).as_str(), "status");
        assert_eq!(script.take(&facts("gpt-4o")), Behaviour::Hang);
        assert!(script.steps.is_empty());
    }

    #[test]
    fn a_narrow_rule_goes_before_the_rule_for_everything() {
        let mut script = Script::default();
        script.stand(Rule {
            when: When::model("a"),
            act: Behaviour::Empty200,
        });
        script.stand(Rule {
            when: When::default(),
            act: Behaviour::Hang,
        });
        script.stand(Rule {
            when: When::default(),
            act: Behaviour::Html502,
        });
        assert_eq!(script.take(&facts("a")), Behaviour::Empty200);
        assert_eq!(script.take(&facts("b")), Behaviour::Html502);
        assert_eq!(script.always.len(), 2);
    }

    #[test]
    fn patterns_fit_whole_texts() {
        for (pattern, text, expected) in [
            ("gpt-4o", "gpt-4o", true),
            ("gpt-4o", "gpt-4o-mini", false),
            ("gpt-*", "gpt-4o", true),
            ("*-mini", "gpt-4o-mini", true),
            ("*4o*i", "gpt-4o-mini", true),
            ("*", "", true),
            ("a*b", "ab", true),
            ("a*b", "a", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_script_reads_back_from_its_json() {
        let json = r#"{"steps":[
            {"do":"hang"},
            {"times":3,"when":{"model":"claude-*"},"do":{"status":{"code":529,"retry_after_ms":1500}}},
            {"do":{"answer":{"text":"hi","fault":{"reset":{"at":{"mid_chunk":2}}}}}},
            {"do":{"raw":{"bytes":"a\u00ff","after":"close_silently"}}}],
            "always":[{"when":{"api":"gemini"},"do":"html502"}]}"#;
        let script: Script = serde_json::from_str(json).unwrap();
        assert_eq!(script.steps[3].act, Raw::new([b'a', 0xff]).into());
        assert_eq!(
            serde_json::from_str::<Script>(&serde_json::to_string(&script).unwrap()).unwrap(),
            script
        );
        assert!(serde_json::from_str::<Script>(r#"{"steps":[{"do":"hang","tmies":2}]}"#).is_err());
    }
}
