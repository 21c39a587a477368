"""What an answer says, whatever its form: text, why it ended, tokens. For answers that are equal in this and in nothing else."""
import json


def openai(body):
    """Of a chat completion, or of a stream of chunks."""
    events = _events(body)
    parts = [event["choices"][0] for event in events if event.get("choices")]
    said = [part.get("message") or part["delta"] for part in parts]
    return {
        "text": "".join(one.get("content") or "" for one in said),
        "ended": _last(part.get("finish_reason") for part in parts),
        "usage": _tokens(_last(event.get("usage") for event in events), "prompt_tokens", "completion_tokens"),
        "whole": not _is_stream(body) or _lines(body)[-1] == "[DONE]",
    }


def anthropic(body):
    """Of a message, or of a stream of its events."""
    events = _events(body)
    if not _is_stream(body):
        text = "".join(block["text"] for block in events[0]["content"])
        ended, usage, whole = events[0]["stop_reason"], events[0]["usage"], True
    else:
        text = "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")
        last = next((event for event in events if event["type"] == "message_delta"), {})
        ended, whole = last.get("delta", {}).get("stop_reason"), events[-1]["type"] == "message_stop"
        started = next((event["message"]["usage"] for event in events if event["type"] == "message_start"), {})
        usage = started | last.get("usage", {})
    return {"text": text, "ended": ended, "usage": _tokens(usage, "input_tokens", "output_tokens"), "whole": whole}


def _is_stream(body):
    return not body.lstrip().startswith(b"{")


def _lines(body):
    return [line[5:].strip() for line in body.decode().splitlines() if line.startswith("data:")]


def _events(body):
    if not _is_stream(body):
        return [json.loads(body)]
    return [json.loads(line) for line in _lines(body) if line != "[DONE]"]


def _last(values):
    return next((value for value in reversed(list(values)) if value), None)


def _tokens(usage, *names):
    return [(usage or {}).get(name) for name in names]
