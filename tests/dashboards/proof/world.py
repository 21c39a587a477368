"""The providers of the proof: how they are configured, and what they do."""

import json

from .rig import free_port

OPENAI = {"input": 100, "output": 20, "cached": 40, "reasoning": 5}
CLAUDE = {"input": 200, "output": 50, "cached": 100, "cache_write": 30}
GEMINI = {"input": 80, "output": 10}
# US dollars a million tokens. What is not here has no price anywhere.
PRICES = {
    "gpt-4.1-mini": {"input": "2.00", "output": "8.00", "cacheRead": "0.50"},
    "claude-sonnet-4-5": {"input": "3.00", "output": "15.00", "cacheRead": "0.30", "cacheWrite": "3.75"},
    "gemini-2.5-flash": {"input": "0.30", "output": "2.50"},
}
# What each model does, whoever asks for it.
SCRIPT = {
    "gpt-4.1-mini": {"answer": {"text": "one two three", "usage": OPENAI}},
    "claude-sonnet-4-5": {"answer": {"text": "one two three four five", "first_delay_ms": 120, "delay_ms": 20, "usage": CLAUDE}},
    "gemini-2.5-flash": {"answer": {"text": "one two", "usage": GEMINI}},
    "failing-1": {"answer": {"text": "one", "usage": {"input": 10, "output": 1}}},
    "down-1": {"status": {"code": 503}},
    "broken-1": {"status": {"code": 502}},
    "slow-1": {"answer": {"head_delay_ms": 3000, "first_delay_ms": 3000}},
    "narrow-1": {"answer": {"text": "one", "head_delay_ms": 300, "usage": {"input": 10, "output": 1}}},
    "strict-1": {"answer": {"text": "one", "head_delay_ms": 600, "usage": {"input": 10, "output": 1}}},
    "tired-1": {"status": {"code": 429, "retry_after_ms": 200}},
    "cut-1": {"answer": {"text": "one two three four", "fault": {"reset": {"at": {"after_chunks": 2}}}}},
    "long-1": {"answer": {"chunks": 400, "delay_ms": 50}},
    "silent-1": "hang",
    "plain-1": {"answer": {"text": "one", "usage": {"input": 10, "output": 1}}},
    "deaf-1": {"status": {"code": 400}},
}


def script():
    return {"always": [{"when": {"model": model}, "do": act} for model, act in SCRIPT.items()]}


def failing_once():
    """The next request for failing-1 fails."""
    return {"steps": [{"when": {"model": "failing-1"}, "do": {"status": {"code": 500}}}], **script()}


def provider(name, kind, port, priority, models, **spec):
    path = {"OpenAI": "/v1", "OpenAICompatible": "/v1"}.get(kind, "")
    return {
        "apiVersion": "bowsprit.dev/v1alpha1", "kind": "ProviderConfig", "metadata": {"name": name},
        "spec": {
            "provider": kind, "priority": priority,
            "endpoint": {"baseUrl": f"http://127.0.0.1:{port}/{name}{path}", "allowHttp": True},
            "credentials": [{"name": "main", "env": "A_KEY"}],
            "models": [{"name": model, **({"price": PRICES[model]} if model in PRICES else {})} for model in models],
            "circuitBreaker": {"failureThreshold": 1000},
            **spec,
        },
    }


def route(model, target, *fallback, **spec):
    to = lambda pair: {"provider": pair[0], "model": pair[1]}
    return {
        "apiVersion": "bowsprit.dev/v1alpha1", "kind": "ModelRoute", "metadata": {"name": model.replace(".", "-")},
        "spec": {"match": {"models": [model]}, "targets": [to(target)], "fallback": [to(pair) for pair in fallback], **spec},
    }


def web(port, turn):
    """The documents of the workload shop/web. `turn` makes one differ from the last, where it does not matter."""
    mini = ("openai", "gpt-4.1-mini")
    backoff = {"base": "10ms", "max": "10ms"}
    return [
        provider("openai", "OpenAI", port, 10, ["gpt-4.1-mini", "slow-1", "cut-1", "long-1", "silent-1"], timeouts={"firstToken": "9m", "idle": "9m"}, healthCheck={"enabled": True, "interval": "1s"}),
        provider("claude", "Anthropic", port, 20, ["claude-sonnet-4-5"], slo={"availability": "99", "firstToken": "100ms"}),
        provider("gemini", "Gemini", port, 30, ["gemini-2.5-flash"], credentials=[{"name": "main", "env": "A_KEY"}, {"name": "lost", "env": "NO_SUCH_KEY"}]),
        provider("flaky", "OpenAICompatible", port, 40, ["failing-1"], retry={"maxAttempts": 2, "backoff": backoff}),
        provider("broken", "OpenAICompatible", port, 50, ["broken-1", "down-1"], slo={"availability": "95"}, retry={"maxAttempts": 2, "backoff": backoff, "budget": {"percent": 0, "minPerSecond": 0}},
                 circuitBreaker={"failureThreshold": 3, "openFor": "10m"}),
        provider("narrow", "OpenAICompatible", port, 60, ["narrow-1"], rateLimits={"concurrentRequests": 1, "onLimit": "Wait", "maxWait": "20s"}),
        provider("strict", "OpenAICompatible", port, 70 + turn % 2, ["strict-1", "tired-1"], retry={"maxAttempts": 1},
                 rateLimits={"concurrentRequests": 1, "onLimit": "Reject"}),
        route("claude-sonnet-4-5", ("claude", "claude-sonnet-4-5"), onUnsupported="Drop"),
        route("failing-1", ("flaky", "failing-1"), mini),
        route("down-1", ("broken", "down-1"), staleIfError={"maxAge": "1h", "maxBytes": 65536}),
        route("broken-1", ("broken", "broken-1"), mini, slo={"availability": "99.9"}),
        route("slow-1", ("openai", "slow-1"), ("claude", "claude-sonnet-4-5"), hedge={"after": "100ms", "maxPercent": 100}),
        *(route(model, (name, model)) for name, model in (
            ("openai", "gpt-4.1-mini"), ("openai", "cut-1"), ("openai", "long-1"), ("openai", "silent-1"), ("gemini", "gemini-2.5-flash"),
            ("narrow", "narrow-1"), ("strict", "strict-1"), ("strict", "tired-1"))),
    ]


def batch(port):
    """The documents of the workload lab/batch."""
    return [provider("openai", "OpenAI", port, 10, ["gpt-4.1-mini"])]


VECTORS, NEXT_VECTORS = "text-embedding-3-small", "text-embedding-3-large"


def policy(name, **spec):
    return {"apiVersion": "bowsprit.dev/v1alpha1", "kind": "UsagePolicy", "metadata": {"name": name}, "spec": spec}


def budget(name, amount, then):
    return {"name": name, "amount": amount, "currency": "USD", "window": "Month", "onExhausted": then}


def at_store(secret):
    return {"redisRef": {"name": secret, "key": "url"}, "timeout": "500ms"}


def reached(name, port, kind, *rest, **spec):
    """A provider for a sidecar that believes itself in a cluster, where loopback is nobody's provider."""
    document = provider(name, kind, port, *rest, **spec)
    document["spec"]["endpoint"]["allowedAddresses"] = ["Loopback"]
    document["spec"]["credentials"] = [{"name": "main", "secretKeyRef": {"name": "keys", "key": "main"}}]
    return document


def desk(port):
    """The documents of the workload shop/desk, which has limits, access rules and guards."""
    mini, narrow = ("openai", "gpt-4.1-mini"), ("narrow", "narrow-1")
    one = lambda then: [{"name": "one", "concurrentRequests": 1, "tokensPerMinute": 1_000_000, "onLimit": then}]
    # Nobody is there either, three times: more in a row are not asked.
    nobody = {"url": f"http://127.0.0.1:{free_port()}", "allowHttp": True, "allowedAddresses": ["Loopback"], "onFailure": "Pass"}
    return [
        reached("openai", port, "OpenAI", 10, ["gpt-4.1-mini"]),
        # Nobody is at the address of its store, and nobody lends it a share.
        reached("claude", port, "Anthropic", 20, ["claude-sonnet-4-5"], rateLimits={"requestsPerMinute": 1_000_000, "scope": "Fleet", "store": at_store("away")}),
        reached("narrow", port, "OpenAICompatible", 60, ["narrow-1"]),
        route("few", narrow, limits=one("Reject")),
        route("line", narrow, limits=one("Wait")),
        route("aside", narrow, mini, limits=one("Fallback")),
        route("ruled", mini, access={"rules": [{"name": "small", "allow": "request.maxTokens <= 100"}]}),
        route("tried", mini, access={"enforcement": "Shadow", "rules": [{"name": "tiny", "allow": "request.maxTokens <= 10"}]}),
        route("guarded", mini, guards=[
            {"name": "letters", "applyTo": ["Request"], "detect": ["Email"]},
            {"name": "cards", "applyTo": ["Request"], "detect": ["Card"], "action": "Refuse"},
            {"name": "accounts", "applyTo": ["Request"], "detect": ["Iban"], "action": "Refuse", "enforcement": "Shadow"},
        ]),
        route("asking", mini, guards=[{"name": "names", "applyTo": ["Request"], "webhook": nobody}]),
        policy("house", budgets=[budget("month", "1000", "Stop"), budget("drop", "0.000001", "Warn")]),
    ]


def shelf(port, *, filling):
    """The documents of the workload shop/shelf, which has caches. `filling`: its vectors have a next model."""
    mini = ("openai", "gpt-4.1-mini")
    cache = {"ttl": "1h", "maxBytes": 1 << 20, "temperature": "Any"}
    semantic = {"embeddingModel": VECTORS, "threshold": "0.8", "maxBytes": 4 << 20, "maxWait": "5s"}
    embeddings = {"maxBytes": 8 << 20, "keepInputs": 1 << 20, **({"next": {"provider": "openai", "model": NEXT_VECTORS, "switch": "Manual"}} if filling else {})}
    return [
        reached("openai", port, "OpenAI", 10, ["gpt-4.1-mini", VECTORS, NEXT_VECTORS, "plain-1", "deaf-1"]),
        route("cached", mini, cache={**cache, "store": at_store("cache")}),
        route("vectors", ("openai", VECTORS), cache={**cache, "embeddings": embeddings}),
        route("alike", mini, cache={**cache, "semantic": semantic}),
        route("checked", mini, cache={**cache, "semantic": {**semantic, "verifyPercent": 100}}),
        route("deaf", mini, cache={**cache, "semantic": {**semantic, "embeddingModel": "deaf-1"}}),
    ]


def till(port):
    """The documents of the workload shop/till, which may spend next to nothing and goes round in loops. plain-1 has no price."""
    return [
        provider("openai", "OpenAI", port, 10, ["gpt-4.1-mini", "plain-1"]),
        policy("till", budgets=[budget("nothing", "0.000001", "Stop")], runaway={"times": 3, "within": "1h"}),
    ]


def kiosk(port):
    """The documents of the workload shop/kiosk, which is led to what costs nobody knows what, and of which one route is paused."""
    return [
        provider("openai", "OpenAI", port, 10, ["gpt-4.1-mini", "plain-1"]),
        route("small", ("openai", "plain-1")),
        route("old", ("openai", "gpt-4.1-mini")),
        policy("kiosk", budgets=[{**budget("little", "0.000001", "Divert"), "divertTo": "small"}], pausedRoutes=[{"name": "old"}]),
    ]


def wrong():
    """Documents that no sidecar takes."""
    return json.dumps({"apiVersion": "bowsprit.dev/v1alpha1", "kind": "ProviderConfig", "metadata": {"name": "openai"}, "spec": {"provider": "NoSuch"}})
