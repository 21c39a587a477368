//! Of `access`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use super::Out;

/// Of `access`.
#[derive(Debug, Subcommand)]
pub enum AccessVerb {
    /// Which rule decides a request, and why each rule does or does not hold for it. Sends nothing: the rules are those of the namespace,
    /// or of files, and are asked by the code that decides requests.
    ///
    /// Exit code 1 where the request would be refused.
    Check(Box<AccessCheckArgs>),
}

/// Of `access check`.
#[derive(Debug, Default, clap::Args)]
pub struct AccessCheckArgs {
    /// Files of `UsagePolicies`, `ModelRoutes` and `ProviderConfigs` in place of what is live; needs no cluster then.
    #[arg(short, long, value_name = "FILE")]
    pub filename: Vec<PathBuf>,
    /// The request's body, as JSON; its model, its stream, its bounds and what it asks for are read from it. `-` is standard input.
    #[arg(long, alias = "file", value_name = "FILE", conflicts_with_all = ["stream", "max_tokens", "n", "temperature", "feature"])]
    pub body: Option<PathBuf>,
    /// The model asked for; unset: that of the body.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// What is to be done.
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub operation: Operation,
    /// The API that the caller speaks.
    #[arg(long, value_enum, default_value_t, value_name = "NAME")]
    pub dialect: Dialect,
    /// The HTTP method.
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    pub method: String,
    /// Of what passes unread, the path below the provider's address, such as /files.
    #[arg(long, value_name = "PATH", default_value = "")]
    pub path: String,
    /// A stream is wanted.
    #[arg(long)]
    pub stream: bool,
    /// The caller's own bound of the answer.
    #[arg(long, value_name = "COUNT")]
    pub max_tokens: Option<u64>,
    /// The input, tokens; unset: estimated of the body.
    #[arg(long, value_name = "COUNT")]
    pub input_tokens: Option<u64>,
    /// How many answers are asked for.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub n: u64,
    /// The temperature.
    #[arg(long, value_name = "NUMBER")]
    pub temperature: Option<f64>,
    /// What is asked for beyond words, as `request.features` has it; may be repeated.
    #[arg(long, value_enum, value_name = "NAME")]
    pub feature: Vec<Feature>,
    /// The pod that asks.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub pod: String,
    /// What it runs for, such as Deployment/checkout.
    #[arg(long, value_name = "KIND/NAME", default_value = "")]
    pub workload: String,
    /// The service account that it runs as.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub service_account: String,
    /// A label of the pod, by which UsagePolicies select it, too; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub label: Vec<(String, String)>,
    /// A header of the request; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub header: Vec<(String, String)>,
    /// The request comes from outside of the sidecar's pod.
    #[arg(long)]
    pub outside: bool,
    /// Whom it would be sent to, as PROVIDER or PROVIDER/MODEL; may be repeated. Unset: whom the plan has, all of them up.
    #[arg(long, value_name = "NAME")]
    pub provider: Vec<String>,
    /// How it is printed.
    #[command(flatten)]
    pub out: Out,
}

/// As `request.operation` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Operation {
    /// A conversation.
    #[default]
    Generate,
    /// Embeddings.
    Embed,
    /// A count of tokens.
    Count,
    /// Any other endpoint of a provider.
    Passthrough,
}

/// As `request.dialect` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Dialect {
    /// Chat Completions.
    #[default]
    Openai,
    /// Messages.
    Anthropic,
    /// `generateContent`.
    Gemini,
    /// Responses.
    #[value(name = "openai_responses")]
    OpenaiResponses,
}

/// As `request.features` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "camelCase")]
pub enum Feature {
    /// Tools of the caller.
    Tools,
    /// Tools of the provider.
    ProviderTools,
    /// One of these that searches or reads the web.
    WebSearch,
    /// One that runs code.
    CodeExecution,
    /// Images.
    Images,
    /// Sound.
    Audio,
    /// Video.
    Video,
    /// Documents and other files.
    Files,
    /// An answer that is JSON.
    StructuredOutput,
    /// To think.
    Thinking,
    /// What the provider keeps.
    StoredInput,
    /// An answer that the provider keeps.
    StoredOutput,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let split = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = split.ok_or_else(|| "a name and a value, such as team=search".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}
