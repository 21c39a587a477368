//! Which files are the results of batches: a provider says so where it tells of the batch.
//!
//! What is in a file says nothing of it: anyone can upload one that looks like results.

use serde::Deserialize;

use super::{is, is_id, segments};
use crate::dialect::Dialect;

/// The longest text about batches that is read, bytes: of one it is some KiB, of a hundred in a list some 100 KiB.
pub const TEXT: usize = 1 << 20;

/// Whether what is answered at this path tells of batches whose results are files of their own. `path`: unescaped.
pub fn are_told(dialect: Dialect, path: &str) -> bool {
    if !matches!(dialect, Dialect::OpenAiChat | Dialect::OpenAiResponses) {
        return false;
    }
    match segments(path).as_slice() {
        // A file's content is its owner's word.
        [.., content] if is(content, "content") => false,
        // Mistral's.
        [.., batch, jobs] if is(batch, "batch") && is(jobs, "jobs") => true,
        [.., batch, jobs, id] | [.., batch, jobs, id, _] if is(batch, "batch") && is(jobs, "jobs") => is_id(id),
        [.., batches] if is(batches, "batches") => true,
        [.., batches, id, cancel] if is(batches, "batches") && is(cancel, "cancel") => is_id(id),
        [.., batches, id] if is(batches, "batches") => is_id(id),
        _ => false,
    }
}

#[derive(Default, Deserialize)]
struct Batch {
    #[serde(default, alias = "output_file")]
    output_file_id: Option<String>,
    #[serde(default, alias = "error_file")]
    error_file_id: Option<String>,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Batch>,
}

/// The files of results that a batch, or a list of them, names. Only what the provider itself says counts, not what a caller put
/// into a batch's `metadata`.
pub fn outputs(text: &[u8]) -> Vec<String> {
    let batches = match serde_json::from_slice::<List>(text) {
        Ok(list) => list.data,
        Err(_) => serde_json::from_slice::<Batch>(text).into_iter().collect(),
    };
    let files = batches
        .into_iter()
        .flat_map(|batch| [batch.output_file_id, batch.error_file_id]);
    files.flatten().filter(|id| is_id(id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_batch_are_those_that_the_provider_names_and_no_others() {
        for (text, wanted) in [
            (
                r#"{"id": "b", "output_file_id": "file-1", "error_file_id": "file-2"}"#,
                vec!["file-1", "file-2"],
            ),
            (
                r#"{"id": "b", "output_file_id": "file-1", "error_file_id": null}"#,
                vec!["file-1"],
            ),
            (r#"{"id": "b", "output_file": "f1", "error_file": null}"#, vec!["f1"]),
            (
                r#"{"object": "list", "data": [{"output_file_id": "a"}, {"error_file_id": "b"}, {}]}"#,
                vec!["a", "b"],
            ),
            (
                r#"{"metadata": {"output_file_id": "forged", "data": [{"output_file_id": "forged"}]}}"#,
                vec![],
            ),
            (r#"{"output_file_id": "a/b"}"#, vec![]),
            (r#"{"output_file_id": 7}"#, vec![]),
            ("[]", vec![]),
            ("{", vec![]),
        ] {
            assert_eq!(outputs(text.as_bytes()), wanted, "{text}");
        }
    }

    #[test]
    fn only_the_paths_of_batches_tell_of_them() {
        for (path, wanted) in [
            ("/v1/batches", true),
            ("/batches/batch_1", true),
            ("/openai/v1/Batches/batch_1/", true),
            ("/v1/batches/batch_1/cancel", true),
            ("/v1/batch/jobs", true),
            ("/v1/batch/jobs/7", true),
            ("/v1/batches/batch_1/other", false),
            ("/v1/files/batches/content", false),
            ("/v1/files/a", false),
            ("/v1/vector_stores/a/file_batches/b", false),
        ] {
            assert_eq!(are_told(Dialect::OpenAiChat, path), wanted, "{path}");
        }
        assert!(!are_told(Dialect::AnthropicMessages, "/v1/messages/batches"));
    }
}
