"""What the apps ask: every API, plain and streamed, and what was sent and read is counted here, beside the sidecar."""

import contextlib
import json

from proof import traffic
from proof.rig import call

HELLO = [{"role": "user", "content": "hello"}]


class Caller:
    """Asks one sidecar, and knows how many bytes went and came."""

    def __init__(self, sidecar):
        self.sidecar, self.sent, self.read = sidecar, 0, 0

    def ask(self, path, body, status=200, headers=None):
        text = json.dumps(body) if not isinstance(body, str) else body
        got, answer = call(self.sidecar.port, path, text, headers)
        if got != status:
            raise AssertionError(f"{path} {text}: {got} where the script makes it {status}: {answer[:300]}")
        self.sent += len(text)
        self.read += len(answer.encode())
        return answer

    def chat(self, model, stream=False, **more):
        return self.ask("/v1/chat/completions", {"model": model, "messages": HELLO, **({"stream": True} if stream else {})}, **more)

    def responses(self, model, stream=False, **more):
        return self.ask("/v1/responses", {"model": model, "input": "hello", **({"stream": True} if stream else {})}, **more)

    def messages(self, model, stream=False, **more):
        return self.ask("/v1/messages", {"model": model, "max_tokens": 64, "messages": HELLO, **({"stream": True} if stream else {})}, **more)

    def contents(self, model, stream=False, **more):
        way = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return self.ask(f"/v1beta/models/{model}:{way}", {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}, **more)


@contextlib.contextmanager
def hanging(sidecar, model, count):
    """So many requests for a model that never answers; the callers leave at the end."""
    sockets = [traffic.opened(sidecar, model) for _ in range(count)]
    sidecar.open += count
    try:
        yield
    finally:
        for one in sockets:
            one.close()
        sidecar.open -= count
