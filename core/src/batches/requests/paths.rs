//! Which paths the requests of a batch are posted to.

use crate::batches::segments;
use crate::call::Operation;
use crate::dialect::Dialect;
use crate::dialect::embeddings::EmbeddingsApi;

/// Where the requests of a batch are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Anthropic's: in the document that makes it.
    Inlined,
    /// Gemini's: in the document that makes it, for the model of its path.
    ForModel {
        /// The model.
        model: String,
        /// What is to be done.
        operation: Operation,
    },
    /// `OpenAI`'s: in a file that is uploaded, if it is one of a batch.
    File,
    /// In a file that may have been uploaded where nobody reads it, or in a document that nobody here knows.
    Elsewhere,
}

/// Whether what is posted to this path brings the requests of a batch. `path`: as rules know it.
///
/// Letters of either case are one, as they are to some servers.
pub fn sent(dialect: Dialect, path: &str) -> Option<Sent> {
    let path = path.trim_matches('/');
    let parts = segments(path).into_iter().map(str::to_ascii_lowercase);
    let parts: Vec<String> = parts.collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let is_openai = matches!(dialect, Dialect::OpenAiChat | Dialect::OpenAiResponses);
    match (dialect, parts.as_slice()) {
        // Files that are there already are put somewhere.
        (_, [.., "vector_stores" | "containers" | "assistants", id, "files"]) if is_id(id) => None,
        (_, [.., "files"]) if is_openai => Some(Sent::File),
        (Dialect::Gemini, [.., "openai", "files"]) => Some(Sent::File),
        (Dialect::AnthropicMessages, [.., "messages", "batches"]) => Some(Sent::Inlined),
        // Its file is read when it is uploaded.
        (_, [.., "batches"]) if is_openai => None,
        (_, [.., "batches"] | [.., "batch", "jobs"]) => Some(Sent::Elsewhere),
        (Dialect::Gemini, [.., kind, last]) => {
            let (_, verb) = last.split_once(':')?;
            let operation = match verb {
                "batchgeneratecontent" => Operation::Generate,
                "asyncbatchembedcontent" => Operation::Embed(EmbeddingsApi::One),
                _ => return None,
            };
            // Names of models keep their letters.
            let mut written = path.rsplit('/');
            let (model, _) = written.next()?.split_once(':')?;
            let model = if *kind == "models" {
                model.to_owned()
            } else {
                format!("{}/{model}", written.next()?)
            };
            Some(Sent::ForModel { model, operation })
        }
        _ => None,
    }
}

fn is_id(part: &str) -> bool {
    !matches!(part, "" | "." | "..")
}
