//! Ways in which compatible APIs search the web: members of a chat completion request that OpenAI's own API has not.

/// A plugin of OpenRouter's, by its `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plugin {
    /// It searches or reads the web; or nobody here knows it, and it may.
    Web,
    /// It reads files that the request brings.
    Files,
    /// It changes the request, the answer or who is asked, and nothing else.
    Other,
}

impl Plugin {
    /// None: it names no plugin.
    pub(crate) fn of(id: Option<&str>) -> Self {
        match id {
            Some("file-parser") => Self::Files,
            Some("response-healing" | "context-compression" | "moderation" | "auto-router") => Self::Other,
            _ => Self::Web,
        }
    }
}

/// The `mode` of xAI's `search_parameters` in which nothing is searched.
pub(crate) const OFF: &str = "off";
