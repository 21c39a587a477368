//! What rules are about: a request, its caller, its route, and whom it would be sent to; and the variables by which rules
//! name these.

use std::collections::BTreeMap;

use crate::call::Operation;
use crate::dialect::{Dialect, Features};

/// All that a rule can look at. Borrowed: a decision copies nothing.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// What is asked.
    pub request: RequestFacts<'a>,
    /// Who asks.
    pub caller: CallerFacts<'a>,
    /// The name of the ModelRoute that the request is matched by; empty where none is.
    pub route: &'a str,
    /// Who may be asked; of rules about the request alone it is not looked at.
    pub candidate: CandidateFacts<'a>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    /// What is to be done.
    pub operation: Operation,
    /// The HTTP method.
    pub method: &'a str,
    /// Of a request below `/providers/` the path below the provider's own address, without its query; else empty.
    pub path: &'a str,
    /// The caller's dialect.
    pub dialect: Dialect,
    /// The model asked for.
    pub model: &'a str,
    /// Whether a stream is wanted.
    pub stream: bool,
    /// The caller's own bound of the answer, tokens.
    pub max_tokens: Option<u64>,
    /// The input, tokens, estimated.
    pub input_tokens: u64,
    /// What the body asks for. Only where the rules look at it: [`super::Policy::reads_body`].
    pub features: Features,
    /// Nothing but its model is known: it is a request of a batch whose file is kept at the provider.
    pub is_unread: bool,
    /// Whether it came below `/providers/` and is read all the same.
    pub pinned: Pinned,
}

/// Whether a request came below `/providers/`, at an endpoint that is read. Rules were written about what passes there before anybody read
/// it, so that such a request is under those too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pinned {
    /// It did not, or nobody reads it.
    #[default]
    No,
    /// It did, for a provider of this dialect. A rule must hold for it twice: as what it asks for, and as [`Pinned::AsPassThrough`].
    To(Dialect),
    /// The second question about one of these: its operation is called `passthrough`, and all else is as it is known.
    AsPassThrough,
}

impl Facts<'_> {
    /// What rules are asked about beside this, where a rule must hold twice.
    pub(super) fn as_pass_through(&self) -> Option<Self> {
        let Pinned::To(dialect) = self.request.pinned else {
            return None;
        };
        let mut facts = *self;
        (facts.request.pinned, facts.request.dialect) = (Pinned::AsPassThrough, dialect);
        Some(facts)
    }
}

/// Who asks. What is not known is empty.
#[derive(Clone, Copy)]
pub struct CallerFacts<'a> {
    /// The pod's name.
    pub pod: &'a str,
    /// What the pod runs for, such as `Deployment/checkout`.
    pub workload: &'a str,
    /// The service account that it runs as.
    pub service_account: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Whether it runs in the sidecar's own pod.
    pub in_pod: bool,
    /// The pod's labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The request's headers.
    pub headers: &'a dyn Headers,
}

/// Whom a request would be sent to.
#[derive(Clone, Copy, Debug, Default)]
pub struct CandidateFacts<'a> {
    /// The name of the ProviderConfig.
    pub provider: &'a str,
    /// The provider's own name of the model; empty for what passes unread.
    pub model: &'a str,
}

/// The headers of a request, as rules ask for them.
pub trait Headers {
    /// The first value of this header, if it is text. `name` is in lower case.
    fn header(&self, name: &str) -> Option<&str>;
}

/// No headers.
impl Headers for () {
    fn header(&self, _name: &str) -> Option<&str> {
        None
    }
}

/// Headers as a list of names in lower case, and values.
impl Headers for Vec<(String, String)> {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A variable of rules.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// As rules write it, such as `request.model`.
    pub path: &'static str,
    /// What it is made of.
    pub(super) fact: Fact,
    /// Whether a request may be without it.
    pub optional: bool,
    /// What it says, for the documentation.
    pub about: &'static str,
}

impl Variable {
    /// Its type in CEL.
    pub fn kind(&self) -> &'static str {
        match self.fact {
            Fact::Bool(_) => "bool",
            Fact::Int(_) => "int",
            Fact::Double(_) => "double",
            Fact::Text(_) => "string",
            Fact::Map(_) => "map(string, string)",
        }
    }

    /// The values that it may have, where these are few.
    pub fn values(&self) -> Vec<&'static str> {
        match self.fact {
            Fact::Text(fact) => fact.values(),
            _ => Vec::new(),
        }
    }
}

/// Where the value of a variable comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    Bool(BoolFact),
    Int(IntFact),
    Double(DoubleFact),
    Text(TextFact),
    Map(MapFact),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BoolFact {
    Stream,
    InPod,
    Feature(Feature),
}

/// A feature of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feature {
    Tools,
    ProviderTools,
    WebSearch,
    CodeExecution,
    Images,
    Audio,
    Video,
    Files,
    StructuredOutput,
    Thinking,
    StoredInput,
    StoredOutput,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IntFact {
    MaxTokens,
    InputTokens,
    Choices,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DoubleFact {
    Temperature,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextFact {
    Model,
    Operation,
    Method,
    Path,
    Dialect,
    Pod,
    Workload,
    ServiceAccount,
    Namespace,
    Route,
    CandidateProvider,
    CandidateModel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MapFact {
    Labels,
    Headers,
}

impl TextFact {
    pub(super) fn values(self) -> Vec<&'static str> {
        match self {
            Self::Operation => OPERATIONS.to_vec(),
            Self::Dialect => Dialect::ALL.iter().map(|dialect| dialect.as_str()).collect(),
            _ => Vec::new(),
        }
    }
}

/// The words of rules for what is to be done.
pub const OPERATIONS: [&str; 4] = ["generate", "embed", "count", "passthrough"];

/// The word of rules for an operation.
pub fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Generate => "generate",
        Operation::Embed(_) => "embed",
        Operation::Count => "count",
        Operation::PassThrough => "passthrough",
    }
}

impl Fact {
    /// Whether it is read from the body beyond what every request is asked for.
    pub(super) fn reads_body(self) -> bool {
        matches!(
            self,
            Self::Bool(BoolFact::Feature(_)) | Self::Int(IntFact::Choices) | Self::Double(DoubleFact::Temperature)
        )
    }

    /// Whether it is about whom the request would be sent to.
    pub(super) fn is_of_candidate(self) -> bool {
        matches!(self, Self::Text(TextFact::CandidateProvider | TextFact::CandidateModel))
    }
}

const fn variable(path: &'static str, fact: Fact, about: &'static str) -> Variable {
    Variable {
        path,
        fact,
        optional: false,
        about,
    }
}

const fn optional(path: &'static str, fact: Fact, about: &'static str) -> Variable {
    Variable {
        path,
        fact,
        optional: true,
        about,
    }
}

const fn feature(path: &'static str, feature: Feature, about: &'static str) -> Variable {
    variable(path, Fact::Bool(BoolFact::Feature(feature)), about)
}

/// Every variable, in the order of the documentation.
pub const VARIABLES: &[Variable] = &[
    variable(
        "request.model",
        Fact::Text(TextFact::Model),
        "The model that the caller asks for, as it writes it",
    ),
    variable(
        "request.operation",
        Fact::Text(TextFact::Operation),
        "What is to be done: a conversation, embeddings, a count of tokens, or any other endpoint of a provider, which passes unread",
    ),
    variable(
        "request.method",
        Fact::Text(TextFact::Method),
        "The HTTP method, such as `POST`",
    ),
    variable(
        "request.path",
        Fact::Text(TextFact::Path),
        "Of requests below `/providers/` the path below the provider's address, such as `/files`, without a version in front, without its query, and with percent escapes resolved; else empty",
    ),
    variable(
        "request.dialect",
        Fact::Text(TextFact::Dialect),
        "The API that the caller speaks; of what passes unread, the provider's",
    ),
    variable(
        "request.stream",
        Fact::Bool(BoolFact::Stream),
        "Whether the answer is to come as a stream",
    ),
    optional(
        "request.maxTokens",
        Fact::Int(IntFact::MaxTokens),
        "The caller's own bound of the answer: `max_tokens`, `max_completion_tokens`, `max_output_tokens` or `maxOutputTokens`",
    ),
    variable(
        "request.inputTokens",
        Fact::Int(IntFact::InputTokens),
        "The input, estimated: a quarter of the body's bytes",
    ),
    variable(
        "request.n",
        Fact::Int(IntFact::Choices),
        "How many answers are asked for: `n` or `candidateCount`; 1 where the caller names none",
    ),
    optional(
        "request.temperature",
        Fact::Double(DoubleFact::Temperature),
        "The temperature",
    ),
    feature(
        "request.features.tools",
        Feature::Tools,
        "The caller offers tools of its own: functions, custom tools",
    ),
    feature(
        "request.features.providerTools",
        Feature::ProviderTools,
        "It offers tools that belong to the provider's API: web search, code execution, file search, MCP servers, computer use",
    ),
    feature(
        "request.features.webSearch",
        Feature::WebSearch,
        "It lets the provider search or read the web",
    ),
    feature(
        "request.features.codeExecution",
        Feature::CodeExecution,
        "It lets the provider run code",
    ),
    feature(
        "request.features.images",
        Feature::Images,
        "The conversation holds images, or one is to be made",
    ),
    feature(
        "request.features.audio",
        Feature::Audio,
        "The conversation holds sound, or the answer is to be spoken",
    ),
    feature("request.features.video", Feature::Video, "The conversation holds video"),
    feature(
        "request.features.files",
        Feature::Files,
        "The conversation holds documents and other files, those uploaded before included",
    ),
    feature(
        "request.features.structuredOutput",
        Feature::StructuredOutput,
        "The answer is to be JSON, with or without a schema",
    ),
    feature(
        "request.features.thinking",
        Feature::Thinking,
        "The model is asked to think, or to think more or less",
    ),
    feature(
        "request.features.storedInput",
        Feature::StoredInput,
        "It refers to what the provider keeps and nobody sees here: earlier responses, conversations, prompts, cached contents, uploaded files",
    ),
    feature(
        "request.features.storedOutput",
        Feature::StoredOutput,
        "The provider is to keep the answer for later requests; OpenAI's Responses are kept unless `store` is false",
    ),
    variable("caller.pod", Fact::Text(TextFact::Pod), "The name of the pod that asks"),
    variable(
        "caller.workload",
        Fact::Text(TextFact::Workload),
        "What the pod runs for, such as `Deployment/checkout` or `CronJob/report`",
    ),
    variable(
        "caller.serviceAccount",
        Fact::Text(TextFact::ServiceAccount),
        "The service account that the pod runs as",
    ),
    variable(
        "caller.namespace",
        Fact::Text(TextFact::Namespace),
        "The pod's namespace",
    ),
    variable(
        "caller.inPod",
        Fact::Bool(BoolFact::InPod),
        "Whether the request comes from the sidecar's own pod; from elsewhere the others of `caller` are empty, but for `headers`",
    ),
    variable("caller.labels", Fact::Map(MapFact::Labels), "The pod's labels"),
    variable(
        "caller.headers",
        Fact::Map(MapFact::Headers),
        "Headers of the request, by literal names in lower case. They are what the caller says of itself, and nobody has checked it. No header that carries a key can be named",
    ),
    variable(
        "route.name",
        Fact::Text(TextFact::Route),
        "The ModelRoute that the model belongs to; empty where none does",
    ),
    variable(
        "candidate.provider",
        Fact::Text(TextFact::CandidateProvider),
        "The ProviderConfig that may be asked: a rule that looks at a candidate is decided for each, and leaves out those for which it is not true",
    ),
    variable(
        "candidate.model",
        Fact::Text(TextFact::CandidateModel),
        "The provider's own name of the model that it would be asked for; empty for what passes unread",
    ),
];
