//! What came back, read with the same code that a sidecar reads with. Pure: time is passed in.

use std::time::Duration;

use bowsprit_core::dialect::{
    AnswerContext, Dialect, Echo, Stream, ToolNames, Usage, answer_problem, parse_error, usage,
};
use bowsprit_core::fault::Code;
use bytes::{Bytes, BytesMut};
use http::response::Parts;
use serde::Serialize;

use super::request::Question;
use crate::explain;

/// What is told of an answer, or of why there is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    /// Whether there was a whole answer, from whom it was wanted.
    pub(super) ok: bool,
    /// The pod whose sidecar was asked.
    pub(super) pod: String,
    /// Who was to answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wanted: Option<String>,
    /// Who answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) provider: Option<String>,
    /// The model that was asked for.
    pub(super) model: String,
    /// The model that answered, where another may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) answered_model: Option<String>,
    /// Whether nobody else could have answered.
    pub(super) pinned: bool,
    /// Whether it was streamed.
    pub(super) stream: bool,
    /// The HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    /// Milliseconds to the head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) head_ms: Option<u128>,
    /// Milliseconds to the first content of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_token_ms: Option<u128>,
    /// Milliseconds to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total_ms: Option<u128>,
    /// As the provider reported them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input_tokens: Option<u64>,
    /// As the provider reported them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output_tokens: Option<u64>,
    /// For the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<String>,
    /// Exchanges with providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attempts: Option<u32>,
    /// The code of an error of the sidecar's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

/// Reads an answer as it comes.
pub(super) struct Reader {
    dialect: Dialect,
    told: Told,
    stream: Option<Stream>,
    broken: Option<String>,
}

impl Reader {
    /// Before the answer.
    pub(super) fn new(question: &Question, pod: &str) -> Self {
        Self {
            dialect: question.dialect,
            told: Told {
                pod: pod.to_owned(),
                wanted: question.provider.clone(),
                model: question.model.clone(),
                pinned: question.pinned,
                stream: question.stream,
                ..Told::default()
            },
            stream: None,
            broken: None,
        }
    }

    /// There is none.
    pub(super) fn unanswered(mut self, why: &str) -> Told {
        self.told.error = Some(format!("the sidecar did not answer: {why}"));
        self.told.remedy = Some("kubectl bowsprit health says how it is".to_owned());
        self.told
    }

    /// Its head.
    pub(super) fn head(&mut self, head: &Parts, after: Duration) {
        let text = |name: &str| Some(head.headers.get(name)?.to_str().ok()?.to_owned());
        self.told.status = Some(head.status.as_u16());
        self.told.head_ms = Some(after.as_millis());
        self.told.provider = text("x-bowsprit-provider");
        self.told.answered_model = text("x-bowsprit-model");
        self.told.attempts = text("x-bowsprit-attempts").and_then(|count| count.parse().ok());
        self.told.request_id = text("x-request-id");
        if head.status.is_success() && self.told.stream {
            let context = AnswerContext {
                model: self.told.model.clone(),
                id: String::new(),
                created: 0,
                include_usage: true,
                show_thoughts: false,
                tools: ToolNames::default(),
                echo: Echo::default(),
            };
            self.stream = Some(Stream::new(self.dialect, self.dialect, context, false));
        }
    }

    /// A piece of its body.
    pub(super) fn chunk(&mut self, chunk: &Bytes, after: Duration) {
        let Some(stream) = &mut self.stream else { return };
        if let (Err(error), None) = (stream.push(chunk, &mut BytesMut::new()), &self.broken) {
            self.broken = Some(error.to_string());
        }
        if self.told.first_token_ms.is_none() && stream.content_started() {
            self.told.first_token_ms = Some(after.as_millis());
        }
    }

    /// All of it, and how it ended.
    pub(super) fn end(mut self, body: &[u8], ended: Result<(), String>, after: Duration) -> Told {
        self.told.total_ms = Some(after.as_millis());
        let problem = ended.err().or_else(|| self.problem(body));
        if let Some(usage) = self.usage(body) {
            self.told.input_tokens = Some(usage.input);
            self.told.output_tokens = Some(usage.output);
        }
        if let Some(problem) = problem {
            self.told.error.get_or_insert(problem);
        } else if let (Some(wanted), Some(answered)) = (&self.told.wanted, &self.told.provider)
            && wanted != answered
        {
            self.told.error = Some(format!(
                "{answered} answered in place of {wanted}, which failed or was not available"
            ));
            self.told.remedy = Some(format!(
                "kubectl bowsprit health --provider {wanted} says how it stands; with passThrough: false a provider can only be asked together with its fallbacks"
            ));
        }
        self.told.ok = self.told.error.is_none();
        self.told
    }

    fn problem(&mut self, body: &[u8]) -> Option<String> {
        let status = self.told.status.unwrap_or_default();
        if !(200..300).contains(&status) {
            return Some(self.refused(status, body));
        }
        if let Some(stream) = &mut self.stream {
            let finished = stream.finish(&mut BytesMut::new());
            let broken = self
                .broken
                .take()
                .or_else(|| finished.err().map(|error| error.to_string()));
            return broken.map(|why| format!("the stream broke off: {why}"));
        }
        answer_problem(self.dialect, body).map(|kind| format!("the answer is none: {kind:?}"))
    }

    /// Reads an error: the sidecar's own has a code with a remedy, a provider's has its own words.
    fn refused(&mut self, status: u16, body: &[u8]) -> String {
        let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let code = value.pointer("/error/bowsprit_code").and_then(|code| code.as_str());
        let code: Option<Code> = code.and_then(explain::of);
        self.told.code = code.map(|code| code.as_str().to_owned());
        self.told.remedy = Some(match (code, status) {
            (Some(code), _) => code.remedy().to_owned(),
            (None, 401 | 403) => {
                "the provider refuses the key: put a good one into the Secret that the ProviderConfig names".to_owned()
            }
            (None, 404) => {
                "the provider does not know this model: name another with --model, or correct the ProviderConfig"
                    .to_owned()
            }
            (None, 429) => "the provider's own limit: wait, or have it raised".to_owned(),
            (None, _) => "these are the provider's own words".to_owned(),
        });
        let said = parse_error(self.dialect, status, body).message;
        if said.is_empty() {
            format!("HTTP {status}")
        } else {
            said
        }
    }

    fn usage(&self, body: &[u8]) -> Option<Usage> {
        match &self.stream {
            Some(stream) => stream.usage(),
            None => usage(self.dialect, body),
        }
    }
}
