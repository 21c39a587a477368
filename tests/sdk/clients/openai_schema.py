"""No SDK: chat completions, embeddings and models against OpenAI's published schema."""
import json

from schema import APIError, check, events, send
from serve import WORLD, serve

TOOLS = [
    {"type": "function", "function": {"name": t["name"], "description": t["description"], "parameters": t["schema"]}}
    for t in WORLD["tools"]
]
LOGPROBS = {"logprobs": True, "top_logprobs": 2}


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


def pairs(logprobs):
    return [(token["token"], token["logprob"]) for token in (logprobs or {}).get("content") or []]


def create(asked, outcome, **more):
    with send(asked, outcome, "/v1/chat/completions", request(asked, **more)) as answer:
        value = json.load(answer)
    check(outcome, "CreateChatCompletionResponse", value)
    outcome["choices"] = [choice["message"]["content"] for choice in value["choices"]]
    choice = value["choices"][0]
    outcome["logprobs"] = pairs(choice.get("logprobs"))
    outcome |= {"text": choice["message"]["content"] or "", "finish": choice["finish_reason"]}
    outcome |= {"tools": calls_of(choice["message"].get("tool_calls") or []), "usage": usage_of(value["usage"])}


def stream(asked, outcome, **more):
    outcome |= {"text": "", "pieces": 0, "finish": None, "logprobs": [], "choices": []}
    calls, options = {}, {"stream": True, "stream_options": {"include_usage": True}}
    with send(asked, outcome, "/v1/chat/completions", request(asked, **options, **more)) as answer:
        for value in events(answer):
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
        text = choice["delta"].get("content")
        outcome["choices"] += [""] * (choice["index"] + 1 - len(outcome["choices"]))
        outcome["choices"][choice["index"]] += text or ""
        if choice["index"]:
            continue
        outcome["finish"] = choice["finish_reason"] or outcome["finish"]
        outcome["logprobs"] += pairs(choice.get("logprobs"))
        if text:
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


def embeddings(asked, outcome):
    body = {"model": asked["embedding_model"], "input": WORLD["history"], "dimensions": 256, "encoding_format": "float"}
    with send(asked, outcome, "/v1/embeddings", body) as answer:
        value = json.load(answer)
    check(outcome, "CreateEmbeddingResponse", value)
    outcome["vectors"] = [item["embedding"] for item in value["data"]]


def structured(asked, outcome):
    schema = {"name": "ship", "strict": True, "schema": WORLD["schema"]}
    create(asked, outcome, response_format={"type": "json_schema", "json_schema": schema})
    outcome["parsed"] = json.loads(outcome["text"])


serve({
    "chat": create,
    "stream": stream,
    "stream_tools": lambda asked, outcome: stream(asked, outcome, tools=TOOLS),
    "tool": lambda asked, outcome: create(asked, outcome, tools=TOOLS),
    "structured": structured,
    "logprobs": lambda asked, outcome: create(asked, outcome, **LOGPROBS),
    "logprobs_streamed": lambda asked, outcome: stream(asked, outcome, **LOGPROBS),
    "choices": lambda asked, outcome: create(asked, outcome, n=2),
    "choices_streamed": lambda asked, outcome: stream(asked, outcome, n=2),
    "models": models,
    "embeddings": embeddings,
    "usage_empty": lambda asked, outcome: create(asked, outcome, messages=[]),
    "usage_model": lambda asked, outcome: create(asked | {"model": "no-such-model"}, outcome),
    "usage_path": lambda asked, outcome: send(asked, outcome, "/v1/images/generations", {"prompt": WORLD["question"]}),
})
