"""What is measured: the one place to extend.

- A **contender** is a program between caller and upstream. It is started once a round in each of its setups.
- A **setup** is an upstream with certain options, and what the contenders' configuration files say because of it.
- A **scenario** is one kind of request in a setup, loaded in one way.
- A **target** is the most that a figure of one contender may be.

Ratios are always taken to the `BASELINE` contender of the same round: in its run in `Setup.baseline_of`, where that is not
the setup itself. A translated pair is such a setup: nginx cannot translate, so the pair is held against nginx with plain bytes.
"""
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from . import meaning

BASELINE = "nginx"
CALLER_KEY = "sk-bench-caller"
UPSTREAM_KEY = "sk-bench-upstream"

EVENTS, INTERVAL_MS = 64, 10  # of a streamed answer; 64 events take 630 ms
CONNECTIONS = 64  # of the closed load, as in "RSS after 64 connections"
STREAMS = 32  # at once
RATE = 200  # requests per second of the fixed-rate part, what a busy pod sees
RATE_CONNECTIONS = 32
IDLE, OPEN_STREAMS = 10_000, 1_000  # connections held open while memory is read
HELD_INTERVAL_MS = 1000  # between the events of a stream that is held: 64 of them outlast every reading
OPEN_FILES = IDLE + 2_000  # file descriptors that the contender and the tool need


@dataclass(frozen=True)
class Contender:
    name: str
    # @CONFIG@, @LISTEN@, @ADMIN@, @PROGRAM@, @RUN@ (its own folder) and @CA@ (a folder: bench/ca.crt in it is the authority to
    # trust) are filled in, in the file too, and there also @UPSTREAM@, @KEY@ and what the setup says.
    argv: list
    program: str  # looked up in PATH, unless the command line gives another
    config: str  # a file in contenders/
    setups: tuple  # in which it takes part
    package: str = ""  # the Debian package that has it
    env: dict = field(default_factory=dict)
    version: list = field(default_factory=list)  # arguments that print the version
    build: str = ""  # how to get it where there is no package
    counted: list | None = None  # arguments more under which its instructions are counted; None: they are not


CONTENDERS = [
    Contender(
        name="nginx",
        argv=["@PROGRAM@", "-p", "@RUN@", "-c", "@CONFIG@", "-e", "error.log", "-g", "daemon off;"],
        program="nginx",
        config="nginx.conf",
        setups=("openai", "tls", "idle", "streams"),
        package="nginx",
        version=["-v"],
        counted=["-g", "daemon off; master_process off;"],
    ),
    Contender(
        name="haproxy",
        argv=["@PROGRAM@", "-db", "-f", "@CONFIG@"],
        program="haproxy",
        config="haproxy.cfg",
        setups=("openai",),
        package="haproxy",
        version=["-v"],
    ),
    Contender(
        name="sidecar",
        argv=["@PROGRAM@", "--config", "@CONFIG@", "--listen", "@LISTEN@", "--admin", "@ADMIN@", "--ca-dir", "@CA@"],
        program="target/release/bowsprit-sidecar",
        config="sidecar.yaml",
        setups=(
            *("openai", "tls", "openai-anthropic", "openai-gemini", "anthropic-openai", "recorded", "kept"),
            *("limited", "ruled", "spending", "guarded", "governed", "idle", "streams"),
        ),
        env={"PROVIDER_KEY": UPSTREAM_KEY},
        version=["--version"],
        build="cargo build --release -p bowsprit-sidecar",
        counted=[],
    ),
]

# Not a program: the load goes to the upstream itself.
DIRECT = "direct"


@dataclass(frozen=True)
class Setup:
    name: str
    upstream: tuple = ("--events", str(EVENTS), "--interval-ms", str(INTERVAL_MS))  # arguments of the upstream
    baseline_of: str = ""  # setup whose baseline run the ratios are taken to; this one's own, if empty
    tls: bool = False  # whether the upstream is asked through TLS
    direct: bool = False  # whether the load goes to the upstream alone, too
    fill: dict = field(default_factory=dict)  # words in the contenders' files that are other ones than in FILL
    arguments: tuple = ()  # more arguments for the contenders
    env: dict = field(default_factory=dict)  # more environment for them; words are filled in in both
    rounds: int = 1000  # the most that are worth their time; 0: it is counted alone
    open_files: int = 0  # file descriptors that the contender and the tool need, where they are many


# What the words in the contenders' files mean unless a setup says otherwise.
FILL = {
    "@PROVIDER@": "OpenAI",
    "@BASE_PATH@": "/v1",  # of the upstream's URL
    "@MODELS@": "[]",  # of the provider, where the caller asks for one by another name
    "@SCHEME@": "http",
    "@CA_BUNDLE@": "null",  # caBundleRef of the sidecar's provider
    "@PROXY_SSL@": "",  # nginx's TLS settings
    "@ROUTE@": "",  # a ModelRoute beside the sidecar's ProviderConfig
    "@CONNECTIONS@": "2048",  # nginx takes memory for each, used or not
}
_NGINX_TLS = """proxy_ssl_verify on;
      proxy_ssl_trusted_certificate @CA@/bench/ca.crt;
      proxy_ssl_name localhost;"""
_HELD = ("--events", str(EVENTS), "--interval-ms", str(HELD_INTERVAL_MS))
_PACED = Setup.upstream
# Of the model that the plain request asks for.
_KEEPING_ROUTE = """---
apiVersion: bowsprit.dev/v1alpha1
kind: ModelRoute
metadata:
  name: kept
spec:
  match: {models: [gpt-4o-mini]}
  targets: [{provider: provider, model: gpt-4o-mini}]
  staleIfError: {maxAge: 1h, maxBytes: 1048576}
"""
# Of the model that the plain request asks for. Nothing here ever holds one up, so that each is counted and none refused.
_LIMITS = "limits: [{name: everybody, requestsPerMinute: 100000000, tokensPerMinute: 2000000000, concurrentRequests: 10000}]"
_ACCESS = """access:
    rules:
      - {name: bounded, allow: has(request.maxTokens) && request.maxTokens <= 4096}
      - {name: models, allow: 'request.model.startsWith("gpt-4o")'}
      - {name: no-files, allow: "!request.features.images && !request.features.files"}"""
# What is looked for in both, and not found: each text is gone over, and each answer's event waits where it must.
_GUARD = """guards:
    - {name: pii, applyTo: [Request, Answer], detect: [Card, Iban, Phone, Key, Jwt, PrivateKey]}"""
_BUDGET = 'budgets: [{name: month, amount: "1000000", currency: USD, window: Month, onExhausted: Stop}]'


def _policy(*governs):
    head = "---\napiVersion: bowsprit.dev/v1alpha1\nkind: UsagePolicy\nmetadata:\n  name: house\nspec:\n"
    return head + "".join(f"  {text}\n" for text in governs)


# Memory hardly differs between rounds, and thousands of connections take their time.
_MEMORY = {"upstream": _HELD, "rounds": 2, "open_files": OPEN_FILES, "fill": {"@CONNECTIONS@": str(OPEN_FILES)}}

SETUPS = [
    Setup("openai", direct=True),
    Setup(
        "tls",
        baseline_of="openai",
        tls=True,
        fill={"@SCHEME@": "https", "@CA_BUNDLE@": "{name: bench, key: ca.crt}", "@PROXY_SSL@": _NGINX_TLS},
    ),
    Setup(
        "openai-anthropic",
        upstream=("--only", "anthropic", *_PACED),
        baseline_of="openai",
        fill={"@PROVIDER@": "Anthropic", "@BASE_PATH@": "", "@MODELS@": "[{name: claude-sonnet-4-5, aliases: [gpt-4o-mini]}]"},
    ),
    Setup(
        "openai-gemini",
        upstream=("--only", "gemini", *_PACED),
        baseline_of="openai",
        fill={"@PROVIDER@": "Gemini", "@BASE_PATH@": "", "@MODELS@": "[{name: gemini-2.5-flash, aliases: [gpt-4o-mini]}]"},
    ),
    Setup(
        "anthropic-openai",
        upstream=("--only", "openai", *_PACED),
        baseline_of="openai",
        fill={"@MODELS@": "[{name: gpt-4o-mini, aliases: [claude-sonnet-4-5]}]"},
    ),
    # The ledger's outbox in a file, and each request's spans to a collector: all that can be told of a request is.
    Setup(
        "recorded",
        baseline_of="openai",
        arguments=("--ledger-dir", "@RUN@/ledger"),
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://@UPSTREAM@", "OTEL_TRACES_SAMPLER": "always_on"},
    ),
    # Each answer is kept for the time when nobody gives one.
    Setup("kept", baseline_of="openai", fill={"@ROUTE@": _KEEPING_ROUTE}),
    # One thing at a time that a platform asks of each request: counted, and too little for a clock.
    Setup("limited", baseline_of="openai", fill={"@ROUTE@": _policy(_LIMITS)}, rounds=0),
    Setup("ruled", baseline_of="openai", fill={"@ROUTE@": _policy(_ACCESS)}, rounds=0),
    Setup("spending", baseline_of="openai", fill={"@ROUTE@": _policy(_BUDGET)}, rounds=0),
    Setup("guarded", baseline_of="openai", fill={"@ROUTE@": _policy(_GUARD)}),
    # What a platform asks of each request, all of it at once.
    Setup("governed", baseline_of="openai", fill={"@ROUTE@": _policy(_LIMITS, _ACCESS, _GUARD, _BUDGET)}),
    Setup("idle", **_MEMORY),
    Setup("streams", **_MEMORY),
]


_BEARER = (f"authorization: Bearer {CALLER_KEY}",)


@dataclass(frozen=True)
class Scenario:
    name: str
    setup: str
    path: str
    body: dict
    mode: str  # of the load tool: closed | rate | stream; of the hold tool: idle | open
    connections: int
    unit: str = "request"  # what its CPU time is divided by: request | chunk
    length: float = 1.0  # share of --seconds
    shortest: float = 1.0  # seconds, whatever --seconds says
    rate: int = 0  # requests per second, of mode rate
    events: int = 0  # data lines a streamed answer must have; any other number is a bad answer
    headers: tuple = _BEARER
    # Body -> what is compared with the upstream's own answer to the same request; all of it, if None. For translated pairs,
    # whose answer has the same text and usage but its own ids.
    meaning: Callable | None = None

    @property
    def held(self):
        return self.mode in ("idle", "open")


_INCIDENT = (
    "Summarise the following incident report for the on-call engineer and list the three most likely causes, each with "
    "the first thing to check. The queue of the second region was drained while its retry budget was spent. "
)
_SYSTEM = "You are a careful assistant."
_QUESTION = {"role": "user", "content": (_INCIDENT * 4).strip()}
CHAT = {  # about 1 KB, a short question with a paragraph of context
    "model": "gpt-4o-mini",
    "messages": [{"role": "system", "content": _SYSTEM}, _QUESTION],
    "temperature": 0.2,
    "max_tokens": 256,
}
# The same in the words of the other API.
MESSAGES = {
    "model": "claude-sonnet-4-5",
    "system": _SYSTEM,
    "messages": [_QUESTION],
    "temperature": 0.2,
    "max_tokens": 256,
}
_STREAM = {"stream": True}
_STREAM_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
_CHAT_PATH, _MESSAGES_PATH = "/v1/chat/completions", "/v1/messages"
_ANTHROPIC = (f"x-api-key: {CALLER_KEY}", "anthropic-version: 2023-06-01")
_LINES = EVENTS + 1  # [DONE] is one too
_TRANSLATED_LINES = _LINES + 2  # with a chunk for the role alone and one for the usage
_STREAMED = {"mode": "stream", "connections": STREAMS, "unit": "chunk", "length": 0.75, "shortest": 2.0}
_OPENAI = {"meaning": meaning.openai}

SCENARIOS = [
    Scenario("plain", "openai", _CHAT_PATH, CHAT, "closed", CONNECTIONS),
    Scenario("rate", "openai", _CHAT_PATH, CHAT, "rate", RATE_CONNECTIONS, length=0.5, shortest=0.75, rate=RATE),
    Scenario("stream", "openai", _CHAT_PATH, CHAT | _STREAM, events=_LINES, **_STREAMED),
    Scenario("plain", "tls", _CHAT_PATH, CHAT, "closed", CONNECTIONS),
    Scenario("stream", "tls", _CHAT_PATH, CHAT | _STREAM, events=_LINES, **_STREAMED),
    Scenario("plain", "openai-anthropic", _CHAT_PATH, CHAT, "closed", CONNECTIONS, **_OPENAI),
    Scenario("stream", "openai-anthropic", _CHAT_PATH, CHAT | _STREAM_USAGE, events=_TRANSLATED_LINES, **_STREAMED, **_OPENAI),
    Scenario("plain", "openai-gemini", _CHAT_PATH, CHAT, "closed", CONNECTIONS, **_OPENAI),
    Scenario("stream", "openai-gemini", _CHAT_PATH, CHAT | _STREAM_USAGE, events=_TRANSLATED_LINES, **_STREAMED, **_OPENAI),
    Scenario(
        "plain", "anthropic-openai", _MESSAGES_PATH, MESSAGES, "closed", CONNECTIONS, headers=_ANTHROPIC, meaning=meaning.anthropic
    ),
    Scenario(
        "stream",
        "anthropic-openai",
        _MESSAGES_PATH,
        MESSAGES | _STREAM,
        events=EVENTS - 1 + 5,  # message_start, block start and stop, message_delta, message_stop
        headers=_ANTHROPIC,
        meaning=meaning.anthropic,
        **_STREAMED,
    ),
    Scenario("plain", "recorded", _CHAT_PATH, CHAT, "closed", CONNECTIONS),
    Scenario("plain", "kept", _CHAT_PATH, CHAT, "closed", CONNECTIONS),
    *(Scenario("plain", setup, _CHAT_PATH, CHAT, "closed", CONNECTIONS) for setup in ("limited", "ruled", "spending")),
    Scenario("plain", "guarded", _CHAT_PATH, CHAT, "closed", CONNECTIONS),
    Scenario("stream", "guarded", _CHAT_PATH, CHAT | _STREAM, events=_LINES, **_STREAMED),
    Scenario("plain", "governed", _CHAT_PATH, CHAT, "closed", CONNECTIONS),
    Scenario("held", "idle", _CHAT_PATH, CHAT, "idle", IDLE),
    Scenario("held", "streams", _CHAT_PATH, CHAT | _STREAM, "open", OPEN_STREAMS),
]


@dataclass(frozen=True)
class Target:
    setup: str
    figure: str  # a key of report.figures()
    most: float
    says: str
    unit: str
    fails: float | None = None  # from here on it is a regression and not a matter of the machine: the bench ends with an error
    contender: str = "sidecar"


TARGETS = [
    Target("openai", "plain_ratio", 1.15, "CPU per plain request, against nginx", "x", fails=1.6),
    Target("openai", "rate_ratio", 1.15, f"CPU per request at {RATE}/s, against nginx", "x"),
    Target("openai", "stream_ratio", 1.1, "CPU per streamed chunk, against nginx", "x", fails=1.4),
    Target("tls", "plain_ratio", 1.35, "CPU per request to a TLS upstream, against nginx to a plain one", "x", fails=2.0),
    Target("openai-anthropic", "plain_ratio", 1.9, "CPU per request OpenAI to Anthropic, against nginx", "x"),
    Target("openai-gemini", "plain_ratio", 1.9, "CPU per request OpenAI to Gemini, against nginx", "x"),
    Target("anthropic-openai", "plain_ratio", 1.9, "CPU per request Anthropic to OpenAI, against nginx", "x"),
    Target("openai", "rate_added_p50_ms", 0.2, f"added p50 at {RATE}/s", "ms"),
    Target("openai", "rss_idle_mib", 5.5, "RSS idle", "MiB", fails=12),
    Target("openai", "rss_loaded_mib", 14, f"RSS after {CONNECTIONS} connections", "MiB", fails=20),
    Target("idle", "held_mib", 110, f"RSS with {IDLE:,} idle connections", "MiB"),
    Target("streams", "held_mib", 60, f"RSS with {OPEN_STREAMS:,} open streams", "MiB"),
    Target("openai", "cold_start_ms", 20, "first 200 after the start", "ms"),
    Target("openai", "binary_mib", 8, "binary, stripped", "MiB"),
]


def scenarios_of(setup):
    return [scenario for scenario in SCENARIOS if scenario.setup == setup]


def probe(setup):
    """The plain form of a setup's first scenario: what shows that a contender is ready."""
    first = scenarios_of(setup)[0]
    return replace(first, body={key: value for key, value in first.body.items() if key not in _STREAM_USAGE})


def body_of(scenario):
    return json.dumps(scenario.body, separators=(",", ":")).encode()


def find(contender, programs):
    """Path of the contender's program, or None. `programs` overrides the table's, by name."""
    return shutil.which(programs.get(contender.name, contender.program))


def version(contender, program):
    if not contender.version:
        return ""
    out = subprocess.run([program, *contender.version], capture_output=True, text=True, timeout=10)
    found = re.search(r"\d+\.\d+(\.\d+)?\S*", out.stdout + out.stderr)
    return found.group() if found else ""
