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


# One for each round, and the same in other words: near each other, and far from all others.
ALIKE = [
    ("what is the best way to cook rice", "what is the best way to cook the rice"),
    ("why does the moon look larger at the horizon", "why does the whole moon look larger at the horizon"),
    ("how do whales sleep deep under water", "how do the whales sleep deep under water"),
    ("which bread keeps fresh for a week", "which bread keeps fresh for a whole week"),
    ("explain tides and currents to a child", "explain the tides and currents to a child"),
    ("where did the game of chess come from", "where did the whole game of chess come from"),
    ("list quiet hobbies for the evening", "list the quiet hobbies for the evening"),
    ("when do swallows fly south in autumn", "when do the swallows fly south in autumn"),
    ("can plants in a garden hear music", "can the plants in a garden hear music"),
]


def said(text):
    return {"messages": [{"role": "user", "content": text}]}


def embedded(sidecar, *inputs):
    got, text = call(sidecar.port, "/v1/embeddings", {"model": "vectors", "input": inputs})
    if got != 200:
        raise AssertionError(f"vectors: {got}, {text[:300]}")


def filling(sidecar, documents):
    """The vectors of two inputs are kept, and then there is a next model for them."""
    embedded(sidecar, "the first", "the second")
    loaded = sidecar.metric("bowsprit_config_loaded_total")
    sidecar.configure(documents)
    until("the next model is taken", lambda: sidecar.metric("bowsprit_config_loaded_total") == loaded + 1)
    until("its vectors are there", lambda: sidecar.metric("bowsprit_embedding_refill_entries") == 2)


def asked_alike(sidecar, model, turn, more):
    """Asks something, waits until that can be compared with, and asks the same in other words; `more` questions are in the index then."""
    before = sidecar.metric("bowsprit_semantic_cache_entries", route=model)
    entries = lambda count: until(f"{count} more of {model} are in the index", lambda: sidecar.metric("bowsprit_semantic_cache_entries", route=model) == before + count)
    first, again = ALIKE[turn - 1]
    plain(sidecar, model, **said(first))
    entries(1)
    plain(sidecar, model, **said(again))
    entries(more)


def shelf_round(sidecar, turn):
    """Requests of shop/shelf that caches answer, or do not; what is asked is new in each round."""
    new = f"{ALIKE[turn - 1][0]}, in short"
    kept = sidecar.metric("bowsprit_cache_store_total", result="kept")
    for _ in range(3):
        plain(sidecar, "cached", **said(new))
    plain(sidecar, "cached", n=2, **said(new))
    vectors = sidecar.metric("bowsprit_embedding_refill_entries")
    embedded(sidecar, f"{new} a", f"{new} b")
    embedded(sidecar, f"{new} a", f"{new} b", f"{new} c")
    until("the next model has the new inputs", lambda: sidecar.metric("bowsprit_embedding_refill_entries") == vectors + 3)
    asked_alike(sidecar, "alike", turn, 1)
    asked_alike(sidecar, "checked", turn, 2)
    deaf = sidecar.metric("bowsprit_semantic_cache_errors_total", reason="embedding")
    plain(sidecar, "deaf", **said(new))
    until("a question without vectors is counted", lambda: sidecar.metric("bowsprit_semantic_cache_errors_total", reason="embedding") == deaf + 1)
    got, text = call(sidecar.port, "/jobs", {"path": "/v1/chat/completions", "request": chat("plain-1")})
    if got != 202:
        raise AssertionError(f"a job: {got}, {text[:300]}")
    until("the job is done", lambda: sidecar.metric("bowsprit_jobs", status="kept") == turn)
    if turn > 1:
        until("the store has the answer", lambda: sidecar.metric("bowsprit_cache_store_total", result="kept") == kept + 1)
    settled(sidecar)


def desk_round(sidecar):
    """Requests of shop/desk that meet limits, rules and guards."""
    if sorted(together(2, lambda: status_of(sidecar, "few"))) != [200, 429]:
        raise AssertionError("of two at once, one must be refused")
    together(3, lambda: plain(sidecar, "line"))
    together(2, lambda: plain(sidecar, "aside"))
    plain(sidecar, "ruled", max_tokens=50)
    plain(sidecar, "ruled", status=403, max_tokens=500)
    plain(sidecar, "ruled", status=403)
    plain(sidecar, "tried", max_tokens=50)
    for _ in range(2):
        plain(sidecar, "guarded", **said("write to ann@example.org"))
    plain(sidecar, "guarded", status=403, **said("pay with 4111 1111 1111 1111"))
    plain(sidecar, "guarded", **said("send it to DE89 3704 0044 0532 0130 00"))
    plain(sidecar, "asking")
    for _ in range(2):
        plain(sidecar, "claude-sonnet-4-5")
    settled(sidecar)


def kiosk_round(sidecar):
    """Two requests of shop/kiosk that have no room in its budget and go elsewhere, and one of a route that is paused."""
    for _ in range(2):
        plain(sidecar, "gpt-4.1-mini")
    plain(sidecar, "old", status=403)
    settled(sidecar)


def till_round(sidecar, turn):
    """Three requests of shop/till that its budget stops, and the same one four times, which looks like a loop."""
    for number in range(3):
        plain(sidecar, "gpt-4.1-mini", status=429, **said(f"{turn} {number}"))
    for _ in range(4):
        plain(sidecar, "plain-1", **said(f"again, {turn}"))
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
