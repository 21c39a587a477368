"""The official `openai` package."""
import json

import openai
from pydantic import BaseModel
from serve import WORLD, serve

TOOLS = [
    {"type": "function", "function": {"name": t["name"], "description": t["description"], "parameters": t["schema"]}}
    for t in WORLD["tools"]
]
ASK = {"role": "user", "content": WORLD["question"]}


class Ship(BaseModel):
    name: str
    masts: int


def client(asked, **more):
    more = {"max_retries": asked["retries"]} | more
    return openai.OpenAI(base_url=asked["url"] + "/v1", api_key=asked["key"], **more)


def keep(outcome, answer):
    choice = answer.choices[0]
    outcome["text"] = choice.message.content or ""
    outcome["finish"] = choice.finish_reason
    outcome["tools"] = [
        {"id": call.id, "name": call.function.name, "arguments": json.loads(call.function.arguments)}
        for call in choice.message.tool_calls or []
    ]
    keep_usage(outcome, answer.usage)
    return choice.message


def keep_usage(outcome, usage):
    cached = usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens
    outcome["usage"] = {"input": usage.prompt_tokens, "output": usage.completion_tokens, "cached": cached or 0}


def create(asked, outcome, messages=(ASK,), **more):
    answer = client(asked).chat.completions.create(
        model=asked["model"], messages=list(messages), max_completion_tokens=WORLD["max_tokens"], **more
    )
    return keep(outcome, answer)


def stream(asked, outcome, **more):
    outcome |= {"text": "", "pieces": 0, "finish": None}
    calls = {}
    with client(asked).chat.completions.create(
        model=asked["model"], messages=[ASK], stream=True, stream_options={"include_usage": True}, **more
    ) as chunks:
        for chunk in chunks:
            if chunk.usage:
                keep_usage(outcome, chunk.usage)
            for choice in chunk.choices:
                outcome["finish"] = choice.finish_reason or outcome["finish"]
                if choice.delta.content:
                    outcome["text"] += choice.delta.content
                    outcome["pieces"] += 1
                for part in choice.delta.tool_calls or []:
                    call = calls.setdefault(part.index, {"id": part.id, "name": "", "arguments": ""})
                    call["name"] += part.function.name or ""
                    call["arguments"] += part.function.arguments or ""
            if outcome["pieces"] and asked["scenario"] == "cancel":
                return
    outcome["tools"] = [call | {"arguments": json.loads(call["arguments"])} for _, call in sorted(calls.items())]


def structured_streamed(asked, outcome):
    with client(asked).chat.completions.stream(model=asked["model"], messages=[ASK], response_format=Ship,
                                               stream_options={"include_usage": True}) as events:
        for _ in events:
            pass
        answer = events.get_final_completion()
    keep(outcome, answer)
    outcome["parsed"] = answer.choices[0].message.parsed.model_dump()


def multi_turn(asked, outcome):
    first, second = WORLD["history"]
    create(asked, outcome, [{"role": "user", "content": first}, {"role": "assistant", "content": second}, ASK])


def tool_result(asked, outcome):
    message = create(asked, outcome, tools=TOOLS)
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": WORLD["results"][call.function.name]}
        for call in message.tool_calls
    ]
    called = outcome["tools"]
    create(asked, outcome, [ASK, message.model_dump(exclude_none=True), *results], tools=TOOLS)
    outcome["called"] = called


def thinking_kept(asked, outcome):
    message = create(asked, outcome, tools=TOOLS, reasoning_effort="low")
    call = message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": WORLD["results"][call.function.name]}
    # As the SDK's users do it: the message goes back whole, with whatever the server put into it.
    create(asked, outcome, [ASK, message.model_dump(exclude_none=True), result], tools=TOOLS, reasoning_effort="low")


def structured(asked, outcome):
    answer = client(asked).chat.completions.parse(model=asked["model"], messages=[ASK], response_format=Ship)
    keep(outcome, answer)
    outcome["parsed"] = answer.choices[0].message.parsed.model_dump()


def image(asked, outcome):
    url = f"data:{WORLD['image']['media_type']};base64,{WORLD['image']['data']}"
    parts = [{"type": "text", "text": WORLD["question"]}, {"type": "image_url", "image_url": {"url": url}}]
    create(asked, outcome, [{"role": "user", "content": parts}])


def image_url(asked, outcome):
    parts = [{"type": "text", "text": WORLD["question"]}, {"type": "image_url", "image_url": {"url": WORLD["image_url"]}}]
    create(asked, outcome, [{"role": "user", "content": parts}])


def logprobs(asked, outcome):
    answer = client(asked).chat.completions.create(model=asked["model"], messages=[ASK], logprobs=True, top_logprobs=2)
    keep(outcome, answer)
    outcome["logprobs"] = [(token.token, token.logprob) for token in answer.choices[0].logprobs.content]


def logprobs_streamed(asked, outcome):
    with client(asked).chat.completions.stream(
        model=asked["model"], messages=[ASK], logprobs=True, top_logprobs=2, stream_options={"include_usage": True}
    ) as events:
        answer = events.get_final_completion()
    keep(outcome, answer)
    outcome["logprobs"] = [(token.token, token.logprob) for token in answer.choices[0].logprobs.content]


def choices(asked, outcome):
    answer = client(asked).chat.completions.create(model=asked["model"], messages=[ASK], n=2)
    outcome["choices"] = [choice.message.content for choice in answer.choices]


def choices_streamed(asked, outcome):
    with client(asked).chat.completions.stream(model=asked["model"], messages=[ASK], n=2) as events:
        answer = events.get_final_completion()
    outcome["choices"] = [choice.message.content for choice in answer.choices]


def timeout(asked, outcome):
    client(asked, timeout=WORLD["timeout_seconds"]).chat.completions.create(model=asked["model"], messages=[ASK])


def models(asked, outcome):
    outcome["models"] = [model.id for model in client(asked).models.list()]


def embeddings(asked, outcome):
    answer = client(asked).embeddings.create(model=asked["embedding_model"], input=WORLD["history"], dimensions=256)
    outcome["vectors"] = [item.embedding for item in sorted(answer.data, key=lambda item: item.index)]


serve({
    "chat": create,
    "stream": stream,
    "stream_tools": lambda asked, outcome: stream(asked, outcome, tools=TOOLS),
    "system": lambda asked, outcome: create(asked, outcome, [{"role": "system", "content": WORLD["system"]}, ASK]),
    "multi_turn": multi_turn,
    "tool": lambda asked, outcome: create(asked, outcome, tools=TOOLS),
    "tool_forced": lambda asked, outcome: create(
        asked, outcome, tools=TOOLS, tool_choice={"type": "function", "function": {"name": TOOLS[0]["function"]["name"]}}
    ),
    "tool_result": tool_result,
    "thinking_kept": thinking_kept,
    "structured": structured,
    "structured_streamed": structured_streamed,
    "image": image,
    "image_url": image_url,
    "prompt_cache": lambda asked, outcome: create(asked, outcome, prompt_cache_key="crew"),
    "seed": lambda asked, outcome: create(asked, outcome, seed=7),
    "logprobs": logprobs,
    "logprobs_streamed": logprobs_streamed,
    "choices": choices,
    "choices_streamed": choices_streamed,
    "untouched": lambda asked, outcome: create(
        asked, outcome, extra_body={"x_future": WORLD["x_future"]}, extra_headers={"x-crew": "aloft"}
    ),
    "stop": lambda asked, outcome: create(asked, outcome, stop=WORLD["stop"]),
    "timeout": timeout,
    "cancel": stream,
    "models": models,
    "embeddings": embeddings,
    "usage_empty": lambda asked, outcome: create(asked, outcome, []),
    "usage_model": lambda asked, outcome: create(asked | {"model": "no-such-model"}, outcome),
    "usage_path": lambda asked, outcome: client(asked).images.generate(model=asked["model"], prompt=WORLD["question"]),
})
