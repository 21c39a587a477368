"""No SDK: the bytes of each answer, chunk and error, held against OpenAI's published schema (../schemas)."""
import json
import pathlib
import urllib.error
import urllib.request

import jsonschema
from serve import WORLD, serve

SCHEMA = json.loads((pathlib.Path(__file__).resolve().parent.parent / "schemas/openai-chat.json").read_text())
TOOLS = [
    {"type": "function", "function": {"name": t["name"], "description": t["description"], "parameters": t["schema"]}}
    for t in WORLD["tools"]
]


class APIError(Exception):
    """An error as the SDKs would raise it; `bases` of the outcome are filled from the status."""

    def __init__(self, error, status):
        super().__init__(error["message"])
        self.status_code = status


class BadRequestError(APIError):
    pass


class AuthenticationError(APIError):
    pass


class PermissionDeniedError(APIError):
    pass


class NotFoundError(APIError):
    pass


class RateLimitError(APIError):
    pass


class InternalServerError(APIError):
    pass


CLASSES = {400: BadRequestError, 401: AuthenticationError, 403: PermissionDeniedError, 404: NotFoundError, 429: RateLimitError}


def check(outcome, name, value):
    """Keeps the first thing that the schema does not allow."""
    validator = jsonschema.Draft202012Validator(SCHEMA | {"$ref": f"#/$defs/{name}"})
    for problem in validator.iter_errors(value):
        outcome.setdefault("schema", f"{name} at {problem.json_path}: {problem.message}")


def send(asked, outcome, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {asked['key']}", "content-type": "application/json"}
    try:
        return urllib.request.urlopen(urllib.request.Request(asked["url"] + path, data, headers), timeout=20)
    except urllib.error.HTTPError as answer:
        value = json.load(answer)
        check(outcome, "ErrorResponse", value)
        raise CLASSES.get(answer.code, InternalServerError)(value["error"], answer.code) from None


def request(asked, **more):
    ask = {"role": "user", "content": WORLD["question"]}
    return {"model": asked["model"], "messages": [ask], "max_completion_tokens": WORLD["max_tokens"]} | more


def calls_of(calls):
    return [
        {"id": call["id"], "name": call["function"]["name"], "arguments": json.loads(call["function"]["arguments"])}
        for call in calls
    ]


def usage_of(usage):
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return {"input": usage["prompt_tokens"], "output": usage["completion_tokens"], "cached": cached}


def create(asked, outcome, **more):
    with send(asked, outcome, "/v1/chat/completions", request(asked, **more)) as answer:
        value = json.load(answer)
    check(outcome, "CreateChatCompletionResponse", value)
    choice = value["choices"][0]
    outcome |= {"text": choice["message"]["content"] or "", "finish": choice["finish_reason"]}
    outcome |= {"tools": calls_of(choice["message"].get("tool_calls") or []), "usage": usage_of(value["usage"])}


def stream(asked, outcome, **more):
    outcome |= {"text": "", "pieces": 0, "finish": None}
    calls, options = {}, {"stream": True, "stream_options": {"include_usage": True}}
    with send(asked, outcome, "/v1/chat/completions", request(asked, **options, **more)) as answer:
        for line in answer:
            if not line.startswith(b"data:") or line.strip() == b"data: [DONE]":
                continue
            value = json.loads(line[5:])
            if "error" in value:
                check(outcome, "ErrorResponse", value)
                raise APIError(value["error"], None)
            check(outcome, "CreateChatCompletionStreamResponse", value)
            take(outcome, calls, value)
    outcome["tools"] = calls_of([call for _, call in sorted(calls.items())])


def take(outcome, calls, chunk):
    if chunk.get("usage"):
        outcome["usage"] = usage_of(chunk["usage"])
    for choice in chunk["choices"]:
        outcome["finish"] = choice["finish_reason"] or outcome["finish"]
        if text := choice["delta"].get("content"):
            outcome["text"] += text
            outcome["pieces"] += 1
        for part in choice["delta"].get("tool_calls") or []:
            call = calls.setdefault(part["index"], {"id": part.get("id"), "function": {"name": "", "arguments": ""}})
            for field in ("name", "arguments"):
                call["function"][field] += part["function"].get(field) or ""


def models(asked, outcome):
    with send(asked, outcome, "/v1/models") as answer:
        value = json.load(answer)
    check(outcome, "ListModelsResponse", value)
    outcome["models"] = [model["id"] for model in value["data"]]


serve({
    "chat": create,
    "stream": stream,
    "stream_tools": lambda asked, outcome: stream(asked, outcome, tools=TOOLS),
    "tool": lambda asked, outcome: create(asked, outcome, tools=TOOLS),
    "models": models,
})
