"""What is measured: the one place to extend.

- A **contender** is a program between caller and upstream. Its `configs` say in which setups it takes part.
- A **setup** is an upstream with certain options. Every contender in it is started once a round.
- A **scenario** is one kind of request in a setup, loaded in one way.
- A **target** is the most that a figure of one contender may be.

A translated pair, say, is a setup whose sidecar configuration names another provider, a scenario with that caller's
path and body, and a target; a TLS upstream is a setup with the upstream's TLS options. Ratios are always taken to the
`BASELINE` contender of the same round: in `Setup.baseline_of`, where the baseline cannot take part itself.
"""
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field

BASELINE = "nginx"
CALLER_KEY = "sk-bench-caller"
UPSTREAM_KEY = "sk-bench-upstream"

EVENTS, INTERVAL_MS = 64, 10  # of a streamed answer; 64 events take 630 ms
CONNECTIONS = 64  # of the closed load, as in "RSS after 64 connections"
STREAMS = 32  # at once
RATE = 200  # requests per second of the fixed-rate part, what a busy pod sees
RATE_CONNECTIONS = 32


@dataclass(frozen=True)
class Contender:
    name: str
    argv: list  # @CONFIG@, @LISTEN@, @ADMIN@, @PROGRAM@ and @RUN@ (its own folder) are filled in
    program: str  # looked up in PATH, unless the command line gives another
    configs: dict  # setup -> file in contenders/
    package: str = ""  # the Debian package that has it
    env: dict = field(default_factory=dict)
    version: list = field(default_factory=list)  # arguments that print the version
    build: str = ""  # how to get it where there is no package


CONTENDERS = [
    Contender(
        name="nginx",
        argv=["@PROGRAM@", "-p", "@RUN@", "-c", "@CONFIG@", "-e", "error.log", "-g", "daemon off;"],
        program="nginx",
        configs={"openai": "nginx.conf"},
        package="nginx",
        version=["-v"],
    ),
    Contender(
        name="haproxy",
        argv=["@PROGRAM@", "-db", "-f", "@CONFIG@"],
        program="haproxy",
        configs={"openai": "haproxy.cfg"},
        package="haproxy",
        version=["-v"],
    ),
    Contender(
        name="sidecar",
        argv=["@PROGRAM@", "--config", "@CONFIG@", "--listen", "@LISTEN@", "--admin", "@ADMIN@"],
        program="target/release/bowsprit-sidecar",
        configs={"openai": "sidecar.yaml"},
        env={"OPENAI_API_KEY": UPSTREAM_KEY},
        version=["--version"],
        build="cargo build --release -p bowsprit-sidecar",
    ),
]

# Not a program: the load goes to the upstream itself.
DIRECT = "direct"


@dataclass(frozen=True)
class Setup:
    name: str
    upstream: list  # arguments of the upstream
    baseline_of: str = ""  # setup whose baseline run the ratios are taken to; this one's own, if empty


SETUPS = [
    Setup(name="openai", upstream=["--events", str(EVENTS), "--interval-ms", str(INTERVAL_MS)]),
]


@dataclass(frozen=True)
class Scenario:
    name: str
    setup: str
    path: str
    body: dict
    mode: str  # of the load tool: closed | rate | stream
    connections: int
    unit: str  # what its CPU time is divided by: request | chunk
    length: float = 1.0  # share of --seconds
    shortest: float = 1.0  # seconds, whatever --seconds says
    rate: int = 0  # requests per second, of mode rate
    events: int = 0  # data lines a streamed answer must have; any other number is a bad answer
    headers: tuple = (f"authorization: Bearer {CALLER_KEY}",)
    # Body -> what `check` compares with the upstream's own answer to the same request; all of it, if None. For translated
    # pairs, whose answer has the same text and usage but its own ids.
    meaning: Callable | None = None


_INCIDENT = (
    "Summarise the following incident report for the on-call engineer and list the three most likely causes, each with "
    "the first thing to check. The queue of the second region was drained while its retry budget was spent. "
)
CHAT = {  # about 1 KB, a short question with a paragraph of context
    "model": "gpt-4o-mini",
    "messages": [
        {"role": "system", "content": "You are a careful assistant."},
        {"role": "user", "content": (_INCIDENT * 4).strip()},
    ],
    "temperature": 0.2,
    "max_tokens": 256,
}
_CHAT_PATH = "/v1/chat/completions"
_LINES = EVENTS + 1  # [DONE] is one too

SCENARIOS = [
    Scenario("plain", "openai", _CHAT_PATH, CHAT, "closed", CONNECTIONS, "request"),
    Scenario("rate", "openai", _CHAT_PATH, CHAT, "rate", RATE_CONNECTIONS, "request", length=0.5, shortest=0.75, rate=RATE),
    Scenario(
        "stream", "openai", _CHAT_PATH, CHAT | {"stream": True}, "stream", STREAMS, "chunk", shortest=2.0, events=_LINES
    ),
]


@dataclass(frozen=True)
class Target:
    contender: str
    setup: str
    figure: str  # a key of report.figures()
    most: float
    says: str
    unit: str


TARGETS = [
    Target("sidecar", "openai", "plain_ratio", 1.6, "CPU per plain request, against nginx", "x"),
    Target("sidecar", "openai", "stream_ratio", 1.4, "CPU per streamed chunk, against nginx", "x"),
    Target("sidecar", "openai", "rss_idle_mib", 10, "idle RSS", "MiB"),
    Target("sidecar", "openai", "cold_start_ms", 60, "cold start to the first 200", "ms"),
]


def scenarios_of(setup):
    return [scenario for scenario in SCENARIOS if scenario.setup == setup]


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
