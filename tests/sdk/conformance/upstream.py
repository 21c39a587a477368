"""What a provider was asked, read from its own dialect into one form, so that one expectation fits all providers."""
import json


def _media(mime, data):
    return {"media_type": mime, "data": data}


def _standard(data):
    """Base64 as the others write it: google-genai writes the URL-safe letters, and Gemini reads both."""
    return data.replace("-", "+").replace("_", "/")


def _openai(body):
    said = {"system": [], "turns": [], "images": [], "calls": [], "results": []}
    for message in body["messages"]:
        content = message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        text = "".join(part["text"] for part in parts if part["type"] == "text")
        for part in parts:
            if part["type"] == "image_url":
                mime, _, data = part["image_url"]["url"].removeprefix("data:").partition(";base64,")
                said["images"].append(_media(mime, data))
        for call in message.get("tool_calls") or []:
            made = call["function"]
            said["calls"].append((call["id"], made["name"], json.loads(made["arguments"])))
        if message["role"] in ("system", "developer"):
            said["system"].append(text)
        elif message["role"] == "tool":
            said["results"].append((message["tool_call_id"], text))
        elif text:
            said["turns"].append((message["role"], text))
    stop = body.get("stop") or []
    return said | {
        "tools": {tool["function"]["name"]: tool["function"]["parameters"] for tool in body.get("tools") or []},
        "stop": [stop] if isinstance(stop, str) else stop,
        "schema": ((body.get("response_format") or {}).get("json_schema") or {}).get("schema"),
        "max_tokens": body.get("max_completion_tokens", body.get("max_tokens")),
    }


def _anthropic(body):
    def blocks(content):
        return [{"type": "text", "text": content}] if isinstance(content, str) else content or []

    def text_of(content):
        return "".join(block["text"] for block in blocks(content) if block["type"] == "text")

    said = {"turns": [], "images": [], "calls": [], "results": []}
    for message in body["messages"]:
        for block in blocks(message["content"]):
            if block["type"] == "image":
                said["images"].append(_media(block["source"]["media_type"], block["source"]["data"]))
            elif block["type"] == "tool_use":
                said["calls"].append((block["id"], block["name"], block["input"]))
            elif block["type"] == "tool_result":
                said["results"].append((block["tool_use_id"], text_of(block["content"])))
        if text := text_of(message["content"]):
            said["turns"].append((message["role"], text))
    return said | {
        "system": [text_of(body["system"])] if body.get("system") else [],
        "tools": {tool["name"]: tool["input_schema"] for tool in body.get("tools") or []},
        "stop": body.get("stop_sequences") or [],
        "schema": ((body.get("output_config") or {}).get("format") or {}).get("schema"),
        "max_tokens": body.get("max_tokens"),
    }


def _result_text(response):
    """Gemini's functionResponse is an object; SDKs and translators put a plain text under one of these keys."""
    for key in ("result", "output", "content"):
        if key in response:
            return response[key]
    return json.dumps(response)


def _gemini(body):
    said = {"turns": [], "images": [], "calls": [], "results": []}
    for content in body["contents"]:
        text = ""
        for part in content["parts"]:
            text += part.get("text", "")
            if inline := part.get("inlineData"):
                said["images"].append(_media(inline.get("mimeType") or inline["mime_type"], _standard(inline["data"])))
            if call := part.get("functionCall"):
                said["calls"].append((call.get("id"), call["name"], call.get("args", {})))
            if result := part.get("functionResponse"):
                # Gemini pairs by name; the id is a help that not every caller sends.
                said["results"].append((result["name"], _result_text(result["response"])))
        if text:
            said["turns"].append(("assistant" if content.get("role") == "model" else "user", text))
    how = body.get("generationConfig") or {}
    declared = [each for tool in body.get("tools") or [] for each in tool.get("functionDeclarations") or []]
    system = "".join(part["text"] for part in (body.get("systemInstruction") or {}).get("parts", []))
    return said | {
        "system": [system] if system else [],
        "tools": {each["name"]: each.get("parameters") or each.get("parametersJsonSchema") or each.get("parameters_json_schema") for each in declared},
        "stop": how.get("stopSequences") or [],
        "schema": how.get("responseJsonSchema") or how.get("responseSchema"),
        "max_tokens": how.get("maxOutputTokens"),
    }


READERS = {"openai": _openai, "anthropic": _anthropic, "gemini": _gemini}


def read(recorded):
    """A request of the providers' `/requests` in one form."""
    return READERS[recorded["api"]](json.loads(recorded["body"]))
