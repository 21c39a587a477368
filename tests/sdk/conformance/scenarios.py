"""All scenarios, and which of them a quick look takes."""
from . import answers, failures

SCENARIOS = answers.SCENARIOS + failures.SCENARIOS

#: What the clients without an SDK ask, to hold the bytes against OpenAI's schema.
WITH_SCHEMA = {
    "chat", "stream", "tool", "tools_parallel", "tools_streamed", "length", "thinking", "pings", "logprobs",
    "logprobs_streamed", "choices", "choices_streamed", "structured", "error_400", "error_401", "error_403", "error_404",
    "error_413", "error_429", "error_500", "error_503", "error_529", "error_context", "error_billing", "error_closed",
    "own_no_key", "error_in_stream", "error_before_content",
    "stream_truncated", "timeout_total", "timeout_first_token", "usage_empty", "usage_model", "usage_path", "models",
    "embeddings",
}

#: One of each kind, for every `make test`.
SMOKE = {
    "chat", "stream", "chat_cached", "stream_cached", "tool_result", "structured_streamed", "error_429", "stream_truncated", "retries_of_sdk", "models",
    "AUTH_BILLING", "VAL_CONTEXT_LENGTH", "EXT_OVERLOADED", "agent_prompt", "agent_tool", "codex_prompt",
    "codex_patch", "aimock_stream", "aimock_tool_result", "aimock_429",
}
