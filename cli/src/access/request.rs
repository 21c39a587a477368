//! A request as the command line describes it, in the words of rules.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bowsprit_core::access::{CallerFacts, CandidateFacts, Facts, Pinned, RequestFacts};
use bowsprit_core::call::Operation;
use bowsprit_core::dialect::embeddings::EmbeddingsApi;
use bowsprit_core::dialect::{Dialect, Features, features, peek};

use crate::args::{self, AccessCheckArgs};
use crate::failure::Failure;

/// A request that nobody sends.
#[derive(Debug)]
pub(super) struct Request<'a> {
    args: &'a AccessCheckArgs,
    namespace: &'a str,
    operation: Operation,
    dialect: Dialect,
    model: String,
    stream: bool,
    max_tokens: Option<u64>,
    input_tokens: u64,
    features: Features,
    labels: BTreeMap<String, String>,
    headers: Vec<(String, String)>,
}

/// The bytes of a body.
///
/// # Errors
/// The file cannot be read.
pub(super) fn body(file: &PathBuf) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(file)
    };
    read.map_err(|error| Failure::Usage(format!("cannot read {}: {error}", file.display())))
}

impl<'a> Request<'a> {
    /// As the flags say, and the body where there is one.
    ///
    /// # Errors
    /// The body is not what this API takes, or names no model and no flag does.
    pub(super) fn of(args: &'a AccessCheckArgs, namespace: &'a str, body: Option<&[u8]>) -> Result<Self, Failure> {
        let mut request = Self {
            args,
            namespace,
            operation: operation(args.operation),
            dialect: dialect(args.dialect),
            model: args.model.clone().unwrap_or_default(),
            stream: args.stream,
            max_tokens: args.max_tokens,
            input_tokens: args.input_tokens.unwrap_or(0),
            features: asked_for(args),
            labels: args.label.iter().cloned().collect(),
            headers: args
                .header
                .iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
                .collect(),
        };
        if let Some(body) = body.filter(|_| !request.passes_unread()) {
            request.read(body)?;
        }
        if request.model.is_empty() && !request.passes_unread() {
            return Err(Failure::Usage(
                "which model is asked for? name it with --model, or give a body that does".to_owned(),
            ));
        }
        Ok(request)
    }

    fn read(&mut self, body: &[u8]) -> Result<(), Failure> {
        let wrong = |error: &dyn std::fmt::Display| Failure::Usage(format!("--body: {error}"));
        let envelope = peek(self.dialect, body).map_err(|error| wrong(&error))?;
        if self.model.is_empty() {
            self.model = envelope.model.into_owned();
        }
        if self.args.input_tokens.is_none() {
            self.input_tokens = envelope.input_tokens_estimate;
        }
        if self.operation == Operation::Generate {
            (self.stream, self.max_tokens) = (envelope.stream, envelope.max_output_tokens);
        }
        if matches!(self.operation, Operation::Generate | Operation::Count) {
            self.features = features(self.dialect, body).map_err(|error| wrong(&error))?;
        }
        Ok(())
    }

    /// The model asked for; empty of what passes unread.
    pub(super) fn model(&self) -> &str {
        if self.passes_unread() { "" } else { &self.model }
    }

    /// The API that the caller speaks.
    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether it is another endpoint of a provider.
    pub(super) fn passes_unread(&self) -> bool {
        self.operation == Operation::PassThrough
    }

    /// What rules can look at; without its route.
    pub(super) fn facts(&self) -> Facts<'_> {
        let args = self.args;
        let known = |text: &'a str| if args.outside { "" } else { text };
        Facts {
            request: RequestFacts {
                operation: self.operation,
                method: &args.method,
                path: &args.path,
                dialect: self.dialect,
                model: self.model(),
                stream: self.stream,
                max_tokens: self.max_tokens,
                input_tokens: self.input_tokens,
                features: self.features,
                is_unread: false,
                pinned: Pinned::No,
            },
            caller: CallerFacts {
                pod: known(&args.pod),
                workload: known(&args.workload),
                service_account: known(&args.service_account),
                namespace: known(self.namespace),
                in_pod: !args.outside,
                labels: &self.labels,
                headers: &self.headers,
            },
            route: "",
            candidate: CandidateFacts::default(),
        }
    }
}

fn operation(told: args::Operation) -> Operation {
    match told {
        args::Operation::Generate => Operation::Generate,
        args::Operation::Embed => Operation::Embed(EmbeddingsApi::OpenAi),
        args::Operation::Count => Operation::Count,
        args::Operation::Passthrough => Operation::PassThrough,
    }
}

fn dialect(told: args::Dialect) -> Dialect {
    match told {
        args::Dialect::Openai => Dialect::OpenAiChat,
        args::Dialect::Anthropic => Dialect::AnthropicMessages,
        args::Dialect::Gemini => Dialect::Gemini,
        args::Dialect::OpenaiResponses => Dialect::OpenAiResponses,
    }
}

fn asked_for(args: &AccessCheckArgs) -> Features {
    use args::Feature;
    let has = |feature: Feature| args.feature.contains(&feature);
    Features {
        tools: has(Feature::Tools),
        // A search of the web, and code that is run, are tools of the provider.
        provider_tools: has(Feature::ProviderTools) || has(Feature::WebSearch) || has(Feature::CodeExecution),
        web_search: has(Feature::WebSearch),
        code_execution: has(Feature::CodeExecution),
        images: has(Feature::Images),
        audio: has(Feature::Audio),
        video: has(Feature::Video),
        files: has(Feature::Files),
        structured_output: has(Feature::StructuredOutput),
        thinking: has(Feature::Thinking),
        stored_input: has(Feature::StoredInput),
        stored_output: has(Feature::StoredOutput),
        choices: args.n,
        temperature: args.temperature,
    }
}
