"""What the apps do. Every round is the same, so that after one of them each series is there, and the next can be counted exactly."""

import concurrent.futures
import json
import socket

from . import world
from .rig import SOON, call, until


def chat(model, **more):
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], **more}


def plain(sidecar, model, status=200, headers=None, **more):
    """A chat completion of which the app reads the whole answer."""
    got, text = call(sidecar.port, "/v1/chat/completions", chat(model, **more), headers)
    if got != status:
        raise AssertionError(f"{model}: {got} where the script makes it {status}: {text[:300]}")


def streamed_message(sidecar, model):
    got, text = call(sidecar.port, "/v1/messages", chat(model, stream=True, max_tokens=64))
    if got != 200 or "message_stop" not in text:
        raise AssertionError(f"{model}: {got}, {text[:300]}")


def contents(sidecar, model):
    got, text = call(sidecar.port, f"/v1beta/models/{model}:generateContent", {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]})
    if got != 200:
        raise AssertionError(f"{model}: {got}, {text[:300]}")


def opened(sidecar, model):
    """A stream, asked for and not read."""
    one = socket.create_connection(("127.0.0.1", sidecar.port), SOON)
    body = json.dumps(chat(model, stream=True)).encode()
    one.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
    return one


def left(sidecar, model):
    """The app leaves a stream in its middle."""
    with opened(sidecar, model) as one:
        seen = b""
        while seen.count(b"data:") < 3:
            seen += one.recv(65536) or (_ for _ in ()).throw(AssertionError(f"{model} ended: {seen[-300:]}"))


def cut(sidecar, model):
    """A stream that breaks after its first content: the app gets an error event."""
    got, text = call(sidecar.port, "/v1/chat/completions", chat(model, stream=True))
    if got != 200 or "error" not in text:
        raise AssertionError(f"{model}: {got}, {text[:300]}")


def together(count, ask):
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return [one.result() for one in [pool.submit(ask) for _ in range(count)]]


def status_of(sidecar, model):
    return call(sidecar.port, "/v1/chat/completions", chat(model))[0]


def reconfigured(sidecar, documents):
    """The file is wrong for a while, and then right again and new."""
    rejected, loaded = sidecar.metric("bowsprit_config_rejected_total"), sidecar.metric("bowsprit_config_loaded_total")
    sidecar.configure(world.wrong())
    until("the wrong configuration is refused", lambda: sidecar.metric("bowsprit_config_rejected_total") == rejected + 1)
    sidecar.configure(documents)
    until("the right one is taken", lambda: sidecar.metric("bowsprit_config_loaded_total") == loaded + 1)


def web_round(sidecar, documents, control):
    """50 requests of shop/web: 41 answered, 1 shed, 2 failed at the provider, 2 the caller's mistake, 2 cut, 2 left."""
    reconfigured(sidecar, documents)
    call(sidecar.admin, "/circuits/reset?provider=broken", "")
    for _ in range(12):
        plain(sidecar, "gpt-4.1-mini")
    plain(sidecar, "gpt-4.1-mini", headers={"x-stainless-retry-count": "1"})
    for _ in range(6):
        streamed_message(sidecar, "claude-sonnet-4-5")
    for _ in range(3):
        plain(sidecar, "claude-sonnet-4-5", frequency_penalty=0.5)
    for _ in range(4):
        contents(sidecar, "gemini-2.5-flash")
    call(control, "/script", world.failing_once())
    for _ in range(4):
        plain(sidecar, "failing-1")
    for _ in range(5):
        plain(sidecar, "broken-1")
    for _ in range(2):
        plain(sidecar, "slow-1")
    together(3, lambda: plain(sidecar, "narrow-1"))
    if sorted(together(2, lambda: status_of(sidecar, "strict-1"))) != [200, 429]:
        raise AssertionError("of two at once, one must be refused")
    plain(sidecar, "down-1", status=503)
    plain(sidecar, "tired-1", status=429)
    for _ in range(2):
        call(sidecar.port, "/v1/chat/completions", "{")
    for _ in range(2):
        cut(sidecar, "cut-1")
    for _ in range(2):
        left(sidecar, "long-1")
    settled(sidecar)


def batch_round(sidecar):
    """5 requests of lab/batch."""
    for _ in range(5):
        plain(sidecar, "gpt-4.1-mini")
    settled(sidecar)


def settled(sidecar):
    """Waits until what the apps left is counted."""
    received = lambda: sidecar.metric("bowsprit_requests_received_total") - sidecar.metric("bowsprit_requests_total")
    until("every request but the open ones is counted", lambda: received() == sidecar.open)
    if sidecar.has_ledger:
        told = lambda: sidecar.metric("bowsprit_requests_total") + sidecar.metric("bowsprit_attempts_total")
        until("each request and attempt is an entry of the ledger", lambda: sidecar.metric("bowsprit_ledger_entries_total") == told())


def held_open(sidecar, count):
    """Streams that stay open, so that there is something under way."""
    streams = [opened(sidecar, "silent-1") for _ in range(count)]
    sidecar.open = count
    until("they are under way", lambda: sidecar.metric("bowsprit_provider_in_flight") == count)
    return streams
