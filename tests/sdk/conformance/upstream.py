"""What a provider was asked, read from its own dialect into one form, so that one expectation fits all providers."""
import json


def _media(mime, data):
    return {"media_type": mime, "data": data}


def _standard(data):
    """Base64 as the others write it: google-genai writes the URL-safe letters, and Gemini reads both."""
    return data.replace("-", "+").replace("_", "/")


def _picture(said, url):
    """A picture as OpenAI's two APIs write it: a `data:` URL, or an address."""
    if url.startswith("data:"):
        mime, _, data = url.removeprefix("data:").partition(";base64,")
        said["images"].append(_media(mime, data))
    else:
        said["image_urls"].append(url)


def _nothing():
    lists = ("system", "turns", "images", "image_urls", "calls", "results", "signatures")
    return {name: [] for name in lists}


def _openai(body):
    said = _nothing()
    for message in body["messages"]:
        content = message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        text = "".join(part["text"] for part in parts if part["type"] == "text")
        for part in parts:
            if part["type"] == "image_url":
                _picture(said, part["image_url"]["url"])
        for call in message.get("tool_calls") or []:
            made = call["function"]
            said["calls"].append((call["id"], made["name"], json.loads(made["arguments"])))
        if message["role"] in ("system", "developer"):
            said["system"].append(text)
        elif message["role"] == "tool":
            said["results"].append((message["tool_call_id"], text))
        elif text:
            said["turns"].append((message["role"], text))
    stop, choice = body.get("stop") or [], body.get("tool_choice")
    return said | {
        "tools": {tool["function"]["name"]: tool["function"]["parameters"] for tool in body.get("tools") or []},
        "forced": choice["function"]["name"] if isinstance(choice, dict) else None,
        "stop": [stop] if isinstance(stop, str) else stop,
        "schema": ((body.get("response_format") or {}).get("json_schema") or {}).get("schema"),
        "max_tokens": body.get("max_completion_tokens", body.get("max_tokens")),
        "seed": body.get("seed"),
    }


def _responses(body):
    said = _nothing()
    if body.get("instructions"):
        said["system"].append(body["instructions"])
    asked = body["input"]
    offered = list(body.get("tools") or [])
    for item in [{"role": "user", "content": asked}] if isinstance(asked, str) else asked:
        kind = item.get("type", "message")
        if kind == "function_call":
            said["calls"].append((item["call_id"], _grouped(item, item.get("namespace")), json.loads(item["arguments"])))
        elif kind == "custom_tool_call":
            said["calls"].append((item["call_id"], _grouped(item, item.get("namespace")), {"input": item["input"]}))
        elif kind in ("function_call_output", "custom_tool_call_output"):
            said["results"].append((item["call_id"], _parts(said, item["output"])))
        elif kind == "additional_tools":
            offered += item["tools"]
        elif kind == "tool_search_call":
            said["calls"].append((item["call_id"], "tool_search", item["arguments"]))
        elif kind == "tool_search_output":
            offered += item["tools"]
            said["results"].append((item["call_id"], _found(item["tools"])))
        elif kind == "reasoning":
            said["signatures"].append(item.get("encrypted_content"))
        else:
            _message_item(said, item)
    choice, text = body.get("tool_choice"), body.get("text") or {}
    return said | {
        "tools": _functions(offered),
        "forced": choice["name"] if isinstance(choice, dict) else None,
        "stop": [],
        "schema": (text.get("format") or {}).get("schema"),
        "max_tokens": body.get("max_output_tokens"),
        "seed": None,
    }


def _grouped(named, group):
    """The name of a tool with its namespace, as APIs write it that have none."""
    return f"{group}__{named['name']}" if group else named["name"]


def _found(tools, group=None):
    """What a search for tools found, as the others are told it."""
    lines = []
    for tool in tools:
        if tool["type"] == "namespace":
            lines.append(_found(tool["tools"], tool["name"]))
        else:
            lines.append(f"{_grouped(tool, group)}: {tool['description']}")
    return "\n".join(lines)


def _functions(tools, group=None):
    """Functions, and custom tools as functions with one text; what the provider runs itself is left out."""
    text = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    found = {}
    for tool in tools:
        if tool["type"] == "namespace":
            found |= _functions(tool["tools"], tool["name"])
        elif tool["type"] in ("function", "custom"):
            found[_grouped(tool, group)] = tool.get("parameters", text)
        elif tool["type"] == "tool_search":
            found[tool["type"]] = tool["parameters"]
    return found


def _parts(said, content):
    """The text of a content, or of a tool's output; its pictures are kept."""
    parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
    for part in parts:
        if part["type"] == "input_image":
            _picture(said, part["image_url"])
    return "".join(part["text"] for part in parts if part["type"] in ("input_text", "output_text"))


def _message_item(said, item):
    text = _parts(said, item["content"])
    if item["role"] in ("system", "developer"):
        said["system"].append(text)
    elif text:
        said["turns"].append((item["role"], text))


def _anthropic(body):
    def blocks(content):
        return [{"type": "text", "text": content}] if isinstance(content, str) else content or []

    def text_of(content):
        return "".join(block["text"] for block in blocks(content) if block["type"] == "text")

    def picture(source):
        if source["type"] == "url":
            said["image_urls"].append(source["url"])
        else:
            said["images"].append(_media(source["media_type"], source["data"]))

    said = _nothing()
    for message in body["messages"]:
        for block in blocks(message["content"]):
            # A tool's result is a content of its own.
            within = blocks(block.get("content")) if block["type"] == "tool_result" else [block]
            for image in (each for each in within if each["type"] == "image"):
                picture(image["source"])
            if block["type"] == "tool_use":
                said["calls"].append((block["id"], block["name"], block["input"]))
            elif block["type"] == "tool_result":
                said["results"].append((block["tool_use_id"], text_of(block["content"])))
            elif block["type"] == "thinking":
                said["signatures"].append(block["signature"])
        if text := text_of(message["content"]):
            said["turns"].append((message["role"], text))
    choice = body.get("tool_choice") or {}
    return said | {
        "system": [text_of(body["system"])] if body.get("system") else [],
        "tools": {tool["name"]: tool.get("input_schema") for tool in body.get("tools") or []},
        "forced": choice.get("name"),
        "stop": body.get("stop_sequences") or [],
        "schema": ((body.get("output_config") or {}).get("format") or {}).get("schema"),
        "max_tokens": body.get("max_tokens"),
        "seed": None,
    }


def _result_text(response):
    """Gemini's functionResponse is an object; SDKs and translators put a plain text under one of these keys."""
    for key in ("result", "output", "content"):
        if key in response:
            return response[key]
    return json.dumps(response)


def _gemini_part(said, part):
    if inline := part.get("inlineData"):
        said["images"].append(_media(inline.get("mimeType") or inline["mime_type"], _standard(inline["data"])))
    if file := part.get("fileData"):
        said["image_urls"].append(file.get("fileUri") or file["file_uri"])
    if call := part.get("functionCall"):
        said["calls"].append((call.get("id"), call["name"], call.get("args", {})))
    if result := part.get("functionResponse"):
        # Gemini pairs by name; the id is a help that not every caller sends.
        said["results"].append((result["name"], _result_text(result["response"])))
    if signature := part.get("thoughtSignature"):
        said["signatures"].append(_standard(signature))


def _gemini(body):
    said = _nothing()
    for content in body["contents"]:
        text = "".join(part.get("text", "") for part in content["parts"] if not part.get("thought"))
        for part in content["parts"]:
            _gemini_part(said, part)
        if text:
            said["turns"].append(("assistant" if content.get("role") == "model" else "user", text))
    how = body.get("generationConfig") or {}
    declared = [each for tool in body.get("tools") or [] for each in tool.get("functionDeclarations") or []]
    system = "".join(part["text"] for part in (body.get("systemInstruction") or {}).get("parts", []))
    schemas = ("parameters", "parametersJsonSchema", "parameters_json_schema")
    allowed = ((body.get("toolConfig") or {}).get("functionCallingConfig") or {}).get("allowedFunctionNames") or [None]
    return said | {
        "system": [system] if system else [],
        "tools": {each["name"]: next((each[key] for key in schemas if each.get(key)), None) for each in declared},
        "forced": allowed[0],
        "stop": how.get("stopSequences") or [],
        "schema": how.get("responseJsonSchema") or how.get("responseSchema"),
        "max_tokens": how.get("maxOutputTokens"),
        "seed": how.get("seed"),
    }


def read(recorded):
    """A request of the providers' `/requests` in one form."""
    body = json.loads(recorded["body"])
    if recorded["operation"] == "responses":
        return _responses(body)
    return {"openai": _openai, "anthropic": _anthropic, "gemini": _gemini}[recorded["api"]](body)


def header(recorded, name):
    """The first value of a recorded request's header."""
    return next((value for known, value in recorded["headers"] if known.lower() == name), None)
