//! The fields, by what they are about.

use serde_json::{Value, json};

use super::{Case, Chat, Gemini, Group, Messages, Responses};
use bowsprit_core::dialect::Dialect;

fn case(from: Dialect, field: &'static str, patch: Value) -> Case {
    Case {
        from,
        field,
        patch,
        is_default: false,
    }
}

fn default(from: Dialect, field: &'static str, patch: Value) -> Case {
    Case {
        is_default: true,
        ..case(from, field, patch)
    }
}

fn config(field: &'static str, config: Value) -> Case {
    case(Gemini, field, json!({ "generationConfig": config }))
}

const MODELS: [&str; 3] = ["gpt-4.1", "claude-sonnet-4-5", "gemini-2.5-flash"];

pub(super) fn all() -> Vec<Group> {
    let group = |title, note, cases| Group {
        title,
        note,
        models: MODELS,
        cases,
    };
    let thinks = |title, models, cases| Group {
        title,
        note: "Efforts and budgets stand for each other as `core/src/dialect/thinking.rs` says.\n",
        models,
        cases,
    };
    vec![
        group("Sampling", "", sampling()),
        group("Tools", "", tools()),
        group("Content", "", content()),
        group("Output format", "", format()),
        thinks(
            "Reasoning, models with budgets",
            ["o4-mini", MODELS[1], MODELS[2]],
            reasoning(),
        ),
        thinks(
            "Reasoning, models with efforts",
            ["gpt-5.2", "claude-opus-4-7", "gemini-3.1-pro-preview"],
            reasoning(),
        ),
        thinks(
            "Reasoning, models that do not think",
            ["gpt-4.1", "claude-3-5-haiku-latest", "gemini-2.0-flash"],
            reasoning(),
        ),
        group("Caching, safety and bookkeeping", "", bookkeeping()),
    ]
}

fn sampling() -> Vec<Case> {
    vec![
        case(Chat, "`max_completion_tokens`", json!({"max_completion_tokens": 500})),
        case(Chat, "`temperature: 0.5`", json!({"temperature": 0.5})),
        case(Chat, "`temperature: 1.5`", json!({"temperature": 1.5})),
        case(Chat, "`top_p`", json!({"top_p": 0.5})),
        case(
            Chat,
            "`top_p` beside `temperature`",
            json!({"top_p": 0.5, "temperature": 0.7}),
        ),
        case(Chat, "`top_k` (compatible servers)", json!({"top_k": 40})),
        case(Chat, "`seed`", json!({"seed": 7})),
        case(Chat, "`stop`, up to 4", json!({"stop": ["END"]})),
        case(Chat, "`stop` of white space", json!({"stop": "\n"})),
        case(Chat, "`presence_penalty`", json!({"presence_penalty": 0.5})),
        case(Chat, "`frequency_penalty`", json!({"frequency_penalty": 0.5})),
        case(Chat, "`n: 2`", json!({"n": 2})),
        case(
            Chat,
            "`logprobs`, `top_logprobs`",
            json!({"logprobs": true, "top_logprobs": 2}),
        ),
        case(Chat, "`logit_bias`", json!({"logit_bias": {"50256": -100}})),
        case(Messages, "`max_tokens`", json!({"max_tokens": 500})),
        case(Messages, "`temperature`", json!({"temperature": 0.5})),
        case(Messages, "`top_p`", json!({"top_p": 0.5})),
        case(Messages, "`top_k`", json!({"top_k": 40})),
        case(
            Messages,
            "`stop_sequences`, 4",
            json!({"stop_sequences": ["a", "b", "c", "d"]}),
        ),
        case(
            Messages,
            "`stop_sequences`, 5",
            json!({"stop_sequences": ["a", "b", "c", "d", "e"]}),
        ),
        case(
            Messages,
            "`stop_sequences`, more",
            json!({"stop_sequences": ["a", "b", "c", "d", "e", "f"]}),
        ),
        config("`maxOutputTokens`", json!({"maxOutputTokens": 500})),
        config("`temperature: 1.5`", json!({"temperature": 1.5})),
        config("`topP`", json!({"topP": 0.5})),
        config("`topK`", json!({"topK": 40})),
        config("`seed`", json!({"seed": 7})),
        config("`stopSequences`", json!({"stopSequences": ["END"]})),
        config("`presencePenalty`", json!({"presencePenalty": 0.5})),
        config("`frequencyPenalty`", json!({"frequencyPenalty": 0.5})),
        config("`candidateCount: 2`", json!({"candidateCount": 2})),
        config(
            "`responseLogprobs`, `logprobs`",
            json!({"responseLogprobs": true, "logprobs": 2}),
        ),
        case(Responses, "`max_output_tokens`", json!({"max_output_tokens": 500})),
        case(Responses, "`temperature: 1.5`", json!({"temperature": 1.5})),
        case(Responses, "`top_p`", json!({"top_p": 0.5})),
        case(Responses, "`top_logprobs`", json!({"top_logprobs": 2})),
    ]
}

fn tools() -> Vec<Case> {
    let function =
        json!({"name": "tide", "description": "The tide", "parameters": {"type": "object", "properties": {}}});
    let tool = json!({"type": "function", "function": function});
    let strict = json!({"type": "function", "function": {"name": "tide", "strict": true, "parameters": {"type": "object", "properties": {}}}});
    let chat = |choice: Value| json!({"tools": [tool], "tool_choice": choice});
    let own = json!({"name": "tide", "input_schema": {"type": "object", "properties": {}}});
    let messages = |choice: Value| json!({"tools": [own], "tool_choice": choice});
    let declared = json!([{"functionDeclarations": [function]}]);
    let gemini = |calling: Value| json!({"tools": declared, "toolConfig": {"functionCallingConfig": calling}});
    let flat = json!({"type": "function", "name": "tide", "parameters": {"type": "object", "properties": {}}});
    vec![
        case(Chat, "`tools`, functions", json!({"tools": [tool]})),
        case(Chat, "`tools[].function.strict`", json!({"tools": [strict]})),
        case(
            Chat,
            "`tools`, custom",
            json!({"tools": [{"type": "custom", "custom": {"name": "x"}}]}),
        ),
        case(
            Chat,
            "`tools`, of a kind nobody knows",
            json!({"tools": [{"type": "hologram"}]}),
        ),
        case(
            Chat,
            "a function's name with a dot",
            json!({"tools": [{"type": "function", "function": {"name": "sea.tide"}}]}),
        ),
        case(Chat, "`tool_choice: none`", chat(json!("none"))),
        case(Chat, "`tool_choice: required`", chat(json!("required"))),
        case(
            Chat,
            "`tool_choice`, a function",
            chat(json!({"type": "function", "function": {"name": "tide"}})),
        ),
        case(
            Chat,
            "`tool_choice`, allowed tools",
            chat(json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool]}})),
        ),
        case(
            Chat,
            "`parallel_tool_calls: false`",
            json!({"tools": [tool], "parallel_tool_calls": false}),
        ),
        case(Chat, "`web_search_options`", json!({"web_search_options": {}})),
        case(Chat, "`functions` (deprecated)", json!({"functions": [function]})),
        case(
            Chat,
            "calls and their results",
            json!({"messages": [{"role": "user", "content": "x"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "tide", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "high"}]}),
        ),
        case(Messages, "`tools`, the caller's own", json!({"tools": [own]})),
        case(
            Messages,
            "`tools`, web search",
            json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        ),
        case(
            Messages,
            "`tools`, web search beside functions",
            json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}, own]}),
        ),
        case(
            Messages,
            "`tools`, of the server",
            json!({"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]}),
        ),
        case(
            Messages,
            "the same, forced",
            json!({"tools": [{"type": "code_execution_20250825", "name": "code_execution"}], "tool_choice": {"type": "any"}}),
        ),
        case(
            Messages,
            "`tools`, typed ones that the caller runs",
            json!({"tools": [{"type": "bash_20250124", "name": "bash"}]}),
        ),
        case(
            Messages,
            "what the server's tools did",
            json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": [
                {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "tides"}}]}]}),
        ),
        case(Messages, "`tool_choice: any`", messages(json!({"type": "any"}))),
        case(
            Messages,
            "`tool_choice: tool`",
            messages(json!({"type": "tool", "name": "tide"})),
        ),
        case(Messages, "`tool_choice: none`", messages(json!({"type": "none"}))),
        case(
            Messages,
            "`disable_parallel_tool_use`",
            messages(json!({"type": "auto", "disable_parallel_tool_use": true})),
        ),
        case(Messages, "`mcp_servers`", json!({"mcp_servers": [{"name": "x"}]})),
        case(Messages, "calls and their results", results(json!({"content": "high"}))),
        case(
            Messages,
            "`tool_result.is_error`",
            results(json!({"content": "broken", "is_error": true})),
        ),
        case(
            Messages,
            "an image in a result",
            results(json!({"content": [{"type": "text", "text": "see"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]})),
        ),
        case(Gemini, "`functionDeclarations`", json!({"tools": declared})),
        case(Gemini, "`googleSearch`", json!({"tools": [{"googleSearch": {}}]})),
        case(
            Gemini,
            "`codeExecution` and others",
            json!({"tools": [{"codeExecution": {}}]}),
        ),
        case(
            Gemini,
            "`executableCode`, `codeExecutionResult`",
            json!({"contents": [{"parts": [{"text": "x"}]}, {"role": "model", "parts": [{"executableCode": {"code": "1"}}]}]}),
        ),
        case(Gemini, "`mode: ANY`", gemini(json!({"mode": "ANY"}))),
        case(
            Gemini,
            "`allowedFunctionNames`",
            gemini(json!({"mode": "ANY", "allowedFunctionNames": ["tide"]})),
        ),
        case(Gemini, "`mode: NONE`", gemini(json!({"mode": "NONE"}))),
        case(
            Gemini,
            "calls and their results",
            json!({"contents": [{"parts": [{"text": "x"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "tide", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "tide", "response": {"output": "high"}}}]}]}),
        ),
        case(Responses, "`tools`, functions", json!({"tools": [flat]})),
        case(
            Responses,
            "`tools`, custom",
            json!({"tools": [{"type": "custom", "name": "x"}]}),
        ),
        case(
            Responses,
            "`tools`, a namespace",
            json!({"tools": [{"type": "namespace", "name": "sea", "description": "", "tools": [flat]}]}),
        ),
        case(
            Responses,
            "`tools`, a search for more that the caller runs",
            json!({"tools": [{"type": "tool_search", "execution": "client", "description": "x", "parameters": {"type": "object"}}]}),
        ),
        case(
            Responses,
            "`tools`, web search",
            json!({"tools": [{"type": "web_search"}]}),
        ),
        case(
            Responses,
            "the same, within domains",
            json!({"tools": [{"type": "web_search", "filters": {"allowed_domains": ["tides.org"]}}]}),
        ),
        case(
            Responses,
            "`tools`, others of OpenAI's own",
            json!({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}),
        ),
        case(
            Responses,
            "the same, forced",
            json!({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}], "tool_choice": {"type": "file_search"}}),
        ),
        case(
            Responses,
            "what hosted tools did",
            json!({"input": [{"role": "user", "content": "x"}, {"type": "web_search_call", "id": "ws", "status": "completed"}]}),
        ),
        case(
            Responses,
            "a call of a shell, and its like",
            json!({"input": [{"role": "user", "content": "x"}, {"type": "local_shell_call", "call_id": "c", "action": {}}]}),
        ),
        case(
            Responses,
            "`tool_choice: required`",
            json!({"tools": [flat], "tool_choice": "required"}),
        ),
        case(
            Responses,
            "`parallel_tool_calls: false`",
            json!({"tools": [flat], "parallel_tool_calls": false}),
        ),
        case(
            Responses,
            "calls and their results",
            json!({"input": [{"role": "user", "content": "x"},
            {"type": "function_call", "call_id": "c1", "name": "tide", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "high"}]}),
        ),
    ]
}

fn results(mut result: Value) -> Value {
    result["type"] = json!("tool_result");
    result["tool_use_id"] = json!("t1");
    json!({"messages": [{"role": "user", "content": "x"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "tide", "input": {}}]},
        {"role": "user", "content": [result]}]})
}

fn content() -> Vec<Case> {
    let chat = |part: Value| json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, part]}]});
    let messages =
        |block: Value| json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, block]}]});
    let gemini = |part: Value| json!({"contents": [{"role": "user", "parts": [{"text": "x"}, part]}]});
    let responses =
        |part: Value| json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}, part]}]});
    let late = json!([{"role": "user", "content": "x"}, {"role": "system", "content": "Be brief."}, {"role": "user", "content": "y"}]);
    vec![
        case(
            Chat,
            "system and developer messages",
            json!({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "x"}]}),
        ),
        case(Chat, "a system message later on", json!({"messages": late})),
        case(
            Chat,
            "`messages[].name`",
            json!({"messages": [{"role": "user", "content": "x", "name": "bob"}]}),
        ),
        case(
            Chat,
            "image, inline",
            chat(json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}})),
        ),
        case(
            Chat,
            "image, by URL",
            chat(json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}})),
        ),
        case(
            Chat,
            "`image_url.detail`",
            chat(json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}})),
        ),
        case(
            Chat,
            "PDF, inline",
            chat(
                json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}),
            ),
        ),
        case(
            Chat,
            "`file_id`",
            chat(json!({"type": "file", "file": {"file_id": "file-1"}})),
        ),
        case(
            Chat,
            "`input_audio`",
            chat(json!({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}})),
        ),
        case(Messages, "`system`", json!({"system": "Be brief."})),
        case(
            Messages,
            "image, inline",
            messages(
                json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}),
            ),
        ),
        case(
            Messages,
            "image, by URL",
            messages(json!({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}})),
        ),
        case(
            Messages,
            "PDF, inline",
            messages(
                json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}),
            ),
        ),
        case(
            Messages,
            "PDF, by URL",
            messages(json!({"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}})),
        ),
        case(
            Messages,
            "document of text",
            messages(
                json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Ahoy"}}),
            ),
        ),
        case(
            Messages,
            "`document.citations`",
            messages(
                json!({"type": "document", "citations": {"enabled": true}, "source": {"type": "text", "media_type": "text/plain", "data": "Ahoy"}}),
            ),
        ),
        case(
            Messages,
            "`source.file_id`",
            messages(json!({"type": "image", "source": {"type": "file", "file_id": "f"}})),
        ),
        case(
            Gemini,
            "`systemInstruction`",
            json!({"systemInstruction": {"parts": [{"text": "Be brief."}]}}),
        ),
        case(
            Gemini,
            "image, inline",
            gemini(json!({"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}})),
        ),
        case(
            Gemini,
            "image, by URL",
            gemini(json!({"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/a.png"}})),
        ),
        case(
            Gemini,
            "PDF, inline",
            gemini(json!({"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}})),
        ),
        case(
            Gemini,
            "PDF, by URL",
            gemini(json!({"fileData": {"mimeType": "application/pdf", "fileUri": "https://example.com/a.pdf"}})),
        ),
        case(
            Gemini,
            "audio, inline",
            gemini(json!({"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}})),
        ),
        case(
            Gemini,
            "uploaded file",
            gemini(json!({"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a"}})),
        ),
        case(Responses, "`instructions`", json!({"instructions": "Be brief."})),
        case(
            Responses,
            "image, inline",
            responses(json!({"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="})),
        ),
        case(
            Responses,
            "image, by URL",
            responses(json!({"type": "input_image", "image_url": "https://example.com/a.png"})),
        ),
        case(
            Responses,
            "PDF, inline",
            responses(
                json!({"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}),
            ),
        ),
        case(
            Responses,
            "`file_id`",
            responses(json!({"type": "input_file", "file_id": "file-1"})),
        ),
    ]
}

fn format() -> Vec<Case> {
    let schema = json!({"type": "object", "properties": {"sky": {"type": "string"}}});
    vec![
        case(
            Chat,
            "`response_format: json_object`",
            json!({"response_format": {"type": "json_object"}}),
        ),
        case(
            Chat,
            "`response_format: json_schema`",
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "sky", "schema": schema, "strict": true}}}),
        ),
        case(
            Chat,
            "`modalities`, audio",
            json!({"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}),
        ),
        case(Chat, "`verbosity`", json!({"verbosity": "low"})),
        case(
            Chat,
            "`prediction`",
            json!({"prediction": {"type": "content", "content": "x"}}),
        ),
        case(
            Messages,
            "`output_config.format`",
            json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}),
        ),
        config(
            "`responseMimeType`, JSON",
            json!({"responseMimeType": "application/json"}),
        ),
        config(
            "`responseSchema`",
            json!({"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT", "properties": {"sky": {"type": "STRING"}}}}),
        ),
        config(
            "`responseModalities`, images too",
            json!({"responseModalities": ["TEXT", "IMAGE"]}),
        ),
        config(
            "`responseModalities`, images only",
            json!({"responseModalities": ["IMAGE"]}),
        ),
        case(
            Responses,
            "`text.format: json_schema`",
            json!({"text": {"format": {"type": "json_schema", "name": "sky", "schema": schema}}}),
        ),
        case(Responses, "`text.verbosity`", json!({"text": {"verbosity": "low"}})),
    ]
}

fn reasoning() -> Vec<Case> {
    let budget = |tokens: u64| json!({"thinking": {"type": "enabled", "budget_tokens": tokens}});
    let thinking = |field, value: Value| config(field, json!({ "thinkingConfig": value }));
    vec![
        default(Chat, "`reasoning_effort: none`", json!({"reasoning_effort": "none"})),
        case(
            Chat,
            "`reasoning_effort: minimal`",
            json!({"reasoning_effort": "minimal"}),
        ),
        case(Chat, "`reasoning_effort: low`", json!({"reasoning_effort": "low"})),
        case(
            Chat,
            "`reasoning_effort: medium`",
            json!({"reasoning_effort": "medium"}),
        ),
        case(Chat, "`reasoning_effort: high`", json!({"reasoning_effort": "high"})),
        case(Chat, "`reasoning_effort: xhigh`", json!({"reasoning_effort": "xhigh"})),
        case(
            Chat,
            "effort beside `temperature: 0.5`",
            json!({"reasoning_effort": "high", "temperature": 0.5}),
        ),
        default(
            Messages,
            "`thinking: disabled`",
            json!({"thinking": {"type": "disabled"}}),
        ),
        case(Messages, "`thinking: enabled`, 1024 tokens", budget(1024)),
        case(Messages, "`thinking: enabled`, 4000 tokens", budget(4000)),
        case(Messages, "`thinking: enabled`, 31999 tokens", budget(31_999)),
        default(
            Messages,
            "`thinking: adaptive`",
            json!({"thinking": {"type": "adaptive"}}),
        ),
        case(
            Messages,
            "`adaptive`, `effort: high`",
            json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        ),
        default(
            Gemini,
            "`thinkingBudget: 0`",
            json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}),
        ),
        thinking("`thinkingBudget: 4000`", json!({"thinkingBudget": 4000})),
        thinking("`thinkingLevel: high`", json!({"thinkingLevel": "HIGH"})),
        default(
            Gemini,
            "`thinkingBudget: -1`, `includeThoughts`",
            json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": -1, "includeThoughts": true}}}),
        ),
        case(
            Responses,
            "`reasoning.effort: medium`",
            json!({"reasoning": {"effort": "medium"}}),
        ),
    ]
}

fn bookkeeping() -> Vec<Case> {
    let cached = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}]});
    vec![
        case(Chat, "`user`, `safety_identifier`", json!({"user": "u-1"})),
        case(Chat, "`metadata`", json!({"metadata": {"team": "a"}})),
        case(Chat, "`store`", json!({"store": true})),
        case(Chat, "`service_tier`", json!({"service_tier": "flex"})),
        case(Chat, "`prompt_cache_key`", json!({"prompt_cache_key": "k"})),
        case(Chat, "`cache_control` on a part", cached.clone()),
        case(
            Chat,
            "`cache_control` on a tool",
            json!({"tools": [{"type": "function", "function": {"name": "tide"}, "cache_control": {"type": "ephemeral"}}]}),
        ),
        case(Chat, "a field of tomorrow", json!({"brand_new": 1})),
        case(Messages, "`metadata.user_id`", json!({"metadata": {"user_id": "u-1"}})),
        case(Messages, "`service_tier`", json!({"service_tier": "auto"})),
        case(Messages, "`cache_control` on a block", cached),
        case(Messages, "`container`", json!({"container": "c"})),
        case(Messages, "a field of tomorrow", json!({"brand_new": 1})),
        case(
            Gemini,
            "`safetySettings`",
            json!({"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]}),
        ),
        case(Gemini, "`cachedContent`", json!({"cachedContent": "cachedContents/1"})),
        case(Gemini, "`labels`", json!({"labels": {"team": "a"}})),
        case(Gemini, "a field of tomorrow", json!({"brandNew": 1})),
        case(Responses, "`safety_identifier`", json!({"safety_identifier": "u-1"})),
        case(Responses, "`metadata`", json!({"metadata": {"team": "a"}})),
        case(
            Responses,
            "`previous_response_id`",
            json!({"previous_response_id": "resp_1"}),
        ),
        case(Responses, "`background`", json!({"background": true})),
        case(Responses, "a field of tomorrow", json!({"brand_new": 1})),
    ]
}
