"""The official `anthropic` package."""
import anthropic
from pydantic import BaseModel
from serve import WORLD, serve

TOOLS = [{"name": t["name"], "description": t["description"], "input_schema": t["schema"]} for t in WORLD["tools"]]
ASK = {"role": "user", "content": WORLD["question"]}


class Ship(BaseModel):
    name: str
    masts: int


def client(asked, **more):
    more = {"max_retries": asked["retries"]} | more
    return anthropic.Anthropic(base_url=asked["url"], api_key=asked["key"], **more)


def request(asked, messages=(ASK,), **more):
    return {"model": asked["model"], "max_tokens": WORLD["max_tokens"], "messages": list(messages)} | more


def keep(outcome, answer):
    outcome["text"] = "".join(block.text for block in answer.content if block.type == "text")
    outcome["finish"] = answer.stop_reason
    outcome["tools"] = [
        {"id": block.id, "name": block.name, "arguments": block.input}
        for block in answer.content
        if block.type == "tool_use"
    ]
    usage = answer.usage
    cached = usage.cache_read_input_tokens or 0
    written = usage.cache_creation_input_tokens or 0
    whole = usage.input_tokens + cached + written
    outcome["usage"] = {"input": whole, "output": usage.output_tokens, "cached": cached}
    return answer


def create(asked, outcome, messages=(ASK,), **more):
    return keep(outcome, client(asked).messages.create(**request(asked, messages, **more)))


def stream(asked, outcome, **more):
    outcome |= {"text": "", "pieces": 0}
    with client(asked).messages.stream(**request(asked, **more)) as events:
        for event in events:
            if event.type == "text":
                outcome["text"] += event.text
                outcome["pieces"] += 1
                if asked["scenario"] == "cancel":
                    return
        final = events.get_final_message()
    pieces = outcome["pieces"]
    keep(outcome, final)
    outcome["pieces"] = pieces


def structured_streamed(asked, outcome):
    with client(asked).messages.stream(**request(asked), output_format=Ship) as events:
        answer = events.get_final_message()
    keep(outcome, answer)
    outcome["parsed"] = answer.parsed_output.model_dump()


def multi_turn(asked, outcome):
    first, second = WORLD["history"]
    create(asked, outcome, [{"role": "user", "content": first}, {"role": "assistant", "content": second}, ASK])


def tool_result(asked, outcome):
    answer = create(asked, outcome, tools=TOOLS)
    called = outcome["tools"]
    results = [
        {"type": "tool_result", "tool_use_id": call["id"], "content": WORLD["results"][call["name"]]} for call in called
    ]
    history = [ASK, {"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    create(asked, outcome, history, tools=TOOLS)
    outcome["called"] = called


def thinking_kept(asked, outcome):
    more = {"tools": TOOLS, "thinking": {"type": "adaptive"}}
    answer = create(asked, outcome, **more)
    [call] = outcome["tools"]
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": WORLD["results"][call["name"]]}
    history = [ASK, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    create(asked, outcome, history, **more)


def structured(asked, outcome):
    answer = client(asked).messages.parse(**request(asked), output_format=Ship)
    keep(outcome, answer)
    outcome["parsed"] = answer.parsed_output.model_dump()


def image(asked, outcome):
    source = {"type": "base64"} | WORLD["image"]
    parts = [{"type": "text", "text": WORLD["question"]}, {"type": "image", "source": source}]
    create(asked, outcome, [{"role": "user", "content": parts}])


def image_url(asked, outcome):
    source = {"type": "url", "url": WORLD["image_url"]}
    parts = [{"type": "text", "text": WORLD["question"]}, {"type": "image", "source": source}]
    create(asked, outcome, [{"role": "user", "content": parts}])


def timeout(asked, outcome):
    client(asked, timeout=WORLD["timeout_seconds"]).messages.create(**request(asked))


def models(asked, outcome):
    outcome["models"] = [model.id for model in client(asked).models.list()]


def count_tokens(asked, outcome):
    outcome["tokens"] = client(asked).messages.count_tokens(model=asked["model"], messages=[ASK]).input_tokens


serve({
    "chat": create,
    "stream": stream,
    "stream_tools": lambda asked, outcome: stream(asked, outcome, tools=TOOLS),
    "system": lambda asked, outcome: create(asked, outcome, system=WORLD["system"]),
    "multi_turn": multi_turn,
    "tool": lambda asked, outcome: create(asked, outcome, tools=TOOLS),
    "tool_forced": lambda asked, outcome: create(
        asked, outcome, tools=TOOLS, tool_choice={"type": "tool", "name": TOOLS[0]["name"]}
    ),
    "tool_result": tool_result,
    "thinking_kept": thinking_kept,
    "structured": structured,
    "structured_streamed": structured_streamed,
    "image": image,
    "image_url": image_url,
    "prompt_cache": lambda asked, outcome: create(
        asked, outcome, system=[{"type": "text", "text": WORLD["system"], "cache_control": {"type": "ephemeral"}}]
    ),
    "untouched": lambda asked, outcome: create(
        asked, outcome, extra_body={"x_future": WORLD["x_future"]}, extra_headers={"x-crew": "aloft"}
    ),
    "stop": lambda asked, outcome: create(asked, outcome, stop_sequences=WORLD["stop"]),
    "timeout": timeout,
    "cancel": stream,
    "models": models,
    "count_tokens": count_tokens,
    "usage_empty": lambda asked, outcome: create(asked, outcome, []),
    "usage_model": lambda asked, outcome: create(asked | {"model": "no-such-model"}, outcome),
    "usage_path": lambda asked, outcome: client(asked).beta.files.list(),
})
