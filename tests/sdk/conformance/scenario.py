"""What a scenario is, what its judge sees, and the words that all judges share."""
import dataclasses
import json
import pathlib
import typing

from . import rig, tap, upstream

WORLD = json.loads((pathlib.Path(__file__).resolve().parent.parent / "world.json").read_text())
TEXT = "A spar that runs out over the bow."
PIECES = len(TEXT.split())
USAGE = {"input": 120, "output": 30, "cached": 100}
CALL = {"name": "get_weather", "arguments": {"place": "Kiel"}}
CALLS = [CALL, {"name": "get_tide", "arguments": {"place": "Cuxhaven"}}]
SHIP = {"name": "Gorch Fock", "masts": 3}

#: The API that a client's dialect belongs to: its errors, its models, its key.
API = {"openai": "openai", "responses": "openai", "anthropic": "anthropic", "gemini": "gemini"}

#: How each API says why an answer ended; Gemini and Responses have no word of their own for a tool call.
FINISH = {
    "openai": {"stop": "stop", "tool_calls": "tool_calls", "length": "length"},
    "responses": {"stop": "completed", "tool_calls": "completed", "length": "max_output_tokens"},
    "anthropic": {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens"},
    "gemini": {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS"},
}


@dataclasses.dataclass
class Result:
    """What a judge sees of one cell of the table."""

    outcome: dict  #: what the client made of it
    requests: list  #: what the provider received, as recorded
    client: str
    dialect: str  #: the client's
    provider: str
    providers: rig.Providers
    tap: tap.Tap | None  #: the wire between client and sidecar, where the scenario asks for it

    @property
    def api(self):
        return API[self.dialect]

    @property
    def same(self):
        """Whether the provider speaks the client's own API, so that bytes pass through."""
        return self.api == self.provider

    @property
    def last(self):
        return upstream.read(self.requests[-1])

    def warned(self):
        """The fields that the sidecar says it did not carry to the provider."""
        lines = [answer.header("x-bowsprit-warning") or "" for answer in self.tap.responses()]
        return " ".join(lines)


@dataclasses.dataclass
class Scenario:
    """What the providers do, what the client is told, how the sidecar is configured, and who judges.

    A judge raises AssertionError where the outcome or the provider's view of the request is wrong.
    """

    name: str
    judge: typing.Callable[[Result], None]
    steps: list = dataclasses.field(default_factory=list)
    request: str = ""  #: the client's function, where it is not named like the scenario
    spec: dict = dataclasses.field(default_factory=dict)
    route: dict = dataclasses.field(default_factory=dict)  #: what a ModelRoute says that has all models of the provider; none if empty
    twice: bool = False  #: whether the client asks the same again; the outcome is the second's, with the first's as `first`
    spare: bool = False  #: whether a second provider, of another kind, is there for when the first fails
    retries: int = 0
    tap: bool = False  #: whether the judge wants to see the bytes between client and sidecar
    only: tuple = ()  #: the dialects that have it; all if empty
    same_only: str = ""  #: why it is for a provider of the client's own API alone
    skip: dict = dataclasses.field(default_factory=dict)  #: client, or (client, provider): why not


def equal(what, got, want):
    assert got == want, f"{what} is {got!r}, should be {want!r}"


def no_error(result):
    problem = result.outcome.get("error")
    assert not problem, f"the SDK raised {problem['class']}: {problem['message']}"


def answered(result, text=TEXT, finish="stop", requests=1):
    no_error(result)
    equal("text", result.outcome["text"], text)
    equal("finish", result.outcome["finish"], FINISH[result.dialect][finish])
    equal("requests at the provider", len(result.requests), requests)


def raised(result, classes, status=None, says=""):
    """The SDK's own exception class, or one that `except` with it would catch; `classes` by API, or by client."""
    problem = result.outcome.get("error")
    assert problem, f"the SDK raised nothing: {result.outcome}"
    wanted = classes.get(result.client) or classes[result.api]
    assert wanted in problem["bases"], f"{problem['class']} is no {wanted}: {problem['message']}"
    if status:
        assert problem["status"] == status, f"status is {problem['status']}, should be {status}: {problem['message']}"
    assert says in problem["message"], f"the message does not say {says!r}: {problem['message']}"


def loose(schema):
    """A JSON schema without what Gemini's own schema language writes otherwise."""
    if isinstance(schema, dict):
        lower = {"type": schema["type"].lower()} if isinstance(schema.get("type"), str) else {}
        kept = {key: loose(value) for key, value in schema.items() if key in ("type", "properties", "required", "items")}
        if "properties" in kept:
            kept["properties"] = {name: loose(value) for name, value in schema["properties"].items()}
        return kept | lower
    return schema


def kinds(shared, gemini, **others):
    """Names of exception classes by API; `others` for clients of their own mind, `anthropic_python="..."`."""
    clients = {client.replace("_", " "): name for client, name in others.items()}
    return {"openai": shared, "anthropic": shared, "gemini": gemini} | clients


def answer(**says):
    return {"do": {"answer": {"text": TEXT} | says}}


def calls(wanted, **says):
    return {"do": {"answer": {"tool_calls": wanted} | says}}


def status(code, times=1, **more):
    return {"times": times, "do": {"status": {"code": code, "retry_after_ms": 50} | more}}
