"""Runs client x scenario x provider and prints the tables."""
import argparse
import concurrent.futures
import dataclasses
import fnmatch
import os
import pathlib
import sys
import threading
import time

from . import agent, apps, codes, codex, install, rig, scenarios, second, tap
from .scenario import API, Result, equal

PROVIDERS = ["anthropic", "gemini", "openai"]


@dataclasses.dataclass
class Judge:
    """A client of the tables."""

    name: str
    dialect: str
    file: str
    schema: bool = False  #: no SDK: the bytes themselves, against OpenAI's published schema
    model: str = ""  #: the one that it asks for whoever answers; left out, the provider's own
    aliases: tuple = ()  #: all names under which it asks for the provider's model


SDKS = [
    Judge("openai python", "openai", "openai_python.py"),
    Judge("openai node", "openai", "openai_node.mjs"),
    Judge("openai schema", "openai", "openai_schema.py", schema=True),
    Judge("responses python", "responses", "responses_python.py"),
    Judge("responses node", "responses", "responses_node.mjs"),
    Judge("responses schema", "responses", "responses_schema.py", schema=True),
    Judge("anthropic python", "anthropic", "anthropic_python.py"),
    Judge("anthropic node", "anthropic", "anthropic_node.mjs"),
    Judge("google-genai python", "gemini", "google_genai_python.py"),
]
# This agent knows a Claude only: with another provider it is an alias of what that serves, as a fallback would have it.
CLAUDE = rig.MODELS["anthropic"]
CLAUDE_CODE = Judge("claude code", "anthropic", "claude_code.py", model=CLAUDE, aliases=(CLAUDE,))
# Which tools this one offers, and how, depends on the model's name.
CODEX = Judge("codex", "responses", "codex.py", aliases=tuple(codex.MODELS.values()))


@dataclasses.dataclass
class Lane:
    """What one client plays one after the other, against providers of its own."""

    table: str  #: the heading under which it is printed
    judge: Judge
    scenarios: list
    backend: type = rig.Providers
    providers: list = dataclasses.field(default_factory=lambda: PROVIDERS)


@dataclasses.dataclass
class Cell:
    verdict: str  #: pass, FAIL, skip, or "-" where the API has no such thing
    why: str = ""


def _lanes(args):
    """All lanes that the arguments want, those that take longest first."""
    headings = {"openai": "OpenAI chat completions", "responses": "OpenAI Responses", "anthropic": "Anthropic Messages",
                "gemini": "Gemini generateContent"}
    lanes = [Lane("Codex, a real agent", CODEX, codex.SCENARIOS), Lane("Claude Code, a real agent", CLAUDE_CODE, agent.SCENARIOS)]
    lanes += [Lane(headings[judge.dialect], judge, scenarios.SCENARIOS) for judge in SDKS]
    for judge in SDKS:
        if not judge.schema:
            clients = "OpenAI" if API[judge.dialect] == "openai" else "other"
            lanes.append(Lane(f"aimock for the providers, {clients} clients", judge, second.SCENARIOS, rig.Aimock))
            lanes.append(Lane(f"every error code, {clients} clients", judge, codes.SCENARIOS, codes.Replay, ["replay"]))
    for lane in lanes:
        lane.scenarios = [each for each in lane.scenarios if _wanted(args, lane.judge, each)]
    return [lane for lane in lanes if lane.scenarios and fnmatch.fnmatch(lane.judge.name, args.client)]


def _wanted(args, judge, scenario):
    if args.smoke and scenario.name not in scenarios.SMOKE:
        return False
    if judge.schema and scenario.name not in scenarios.WITH_SCHEMA:
        return False
    fits = not scenario.only or judge.dialect in scenario.only
    return fits and fnmatch.fnmatch(scenario.name, args.scenario)


def _excused(judge, scenario, provider):
    if why := scenario.skip.get(judge.name) or scenario.skip.get((judge.name, provider)):
        return Cell("skip", why)
    if scenario.same_only and Result({}, [], judge.name, judge.dialect, provider, None, None).same is False:
        return Cell("skip", scenario.same_only)
    return None


def _play(lane, client, providers, tools, scenario, provider):
    """One cell: a fresh sidecar, a script, a request, a verdict."""
    judge = lane.judge
    if excused := _excused(judge, scenario, provider):
        return excused
    sidecar = wire = None
    try:
        providers.play(scenario.steps)
        # What is replayed stands in the sidecar's place.
        replayed = lane.backend is codes.Replay
        sidecar = None if replayed else rig.Sidecar(
            tools, providers, provider, scenario.spec, judge.aliases, scenario.spare, scenario.route)
        wire = tap.Tap(sidecar.url) if scenario.tap else None
        front = wire or sidecar or providers
        asked = {"scenario": scenario.request or scenario.name, "url": front.url, "key": rig.CLIENT_KEY}
        model = judge.model or rig.MODELS[API[judge.dialect] if replayed else provider]
        asked |= {"model": model, "embedding_model": rig.EMBEDDING.get(provider, model), "retries": scenario.retries}
        outcome = client.ask(asked)
        if scenario.twice:
            outcome = client.ask(asked) | {"first": outcome}
        requests = providers.requests()
        if not replayed:
            _keys_are_kept_apart(requests, lane.backend is rig.Providers)
        assert "schema" not in outcome, f"against OpenAI's schema: {outcome['schema']}"
        scenario.judge(Result(outcome, requests, judge.name, judge.dialect, provider, providers, wire))
        return Cell("pass")
    except (AssertionError, rig.Broken) as problem:
        return Cell("FAIL", str(problem))
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as problem:
        return Cell("FAIL", f"the outcome cannot be read: {problem!r}")
    finally:
        for each in filter(None, (wire, sidecar)):
            each.close()


def _keys_are_kept_apart(requests, recorded_key):
    for request in requests:
        if recorded_key:
            equal("key at the provider", request["key"], rig.KEY)
        shown = f"{request['path']} {request['headers']} {request['body']}"
        assert rig.CLIENT_KEY not in shown, "the caller's key went to the provider"


class Progress:
    """How far all lanes are: a line that is written over on a terminal, else a line every ten seconds."""

    EVERY = 10

    def __init__(self, lanes):
        self.all = sum(len(lane.scenarios) * len(lane.providers) for lane in lanes)
        self.done = self.failed = 0
        self.begun = self.told = time.monotonic()
        self.lock = threading.Lock()

    def count(self, cell):
        with self.lock:
            self.done += 1
            self.failed += cell.verdict == "FAIL"
            now, terminal = time.monotonic(), sys.stdout.isatty()
            if terminal or now - self.told > self.EVERY:
                self.told = now
                line = f"{self.done} of {self.all} cells, {self.failed} failed, {now - self.begun:.0f} s"
                print(f"\r{line}" if terminal else line, end="" if terminal else "\n", flush=True)


def _run(lane, tools, progress):
    """All of a lane: {(scenario, provider): Cell}."""
    program = tools.node if lane.judge.file.endswith(".mjs") else tools.python
    # Some SDKs warn of models that will be retired: no news for a test.
    env = {"SDK_MODULES": str(tools.modules), "PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": "1"}
    env |= {"NODE": str(tools.node), "CLAUDE": str(tools.claude), "CODEX": str(tools.codex)}
    client = rig.Client([program, install.CLIENTS / lane.judge.file], env)
    providers = lane.backend(tools)
    cells = {}
    try:
        for scenario in lane.scenarios:
            for provider in lane.providers:
                cell = cells[scenario.name, provider] = _play(lane, client, providers, tools, scenario, provider)
                progress.count(cell)
    finally:
        client.close()
        providers.close()
    return cells


def _show(title, results):
    """One table: a row for each scenario, a column for each client."""
    names = list(dict.fromkeys(scenario for _, cells in results for scenario, _ in cells))
    width = max(map(len, names))
    providers = results[0][0].providers
    what = "the sidecar's own words, replayed" if providers != PROVIDERS else f"in each cell {', '.join(providers)} behind the sidecar"
    print(f"\n{title}; {what}")
    print(" " * width, *[f"{lane.judge.name:>20}" for lane, _ in results])
    for name in names:
        rows = [[cells.get((name, provider), Cell("-")).verdict for provider in providers] for _, cells in results]
        print(f"{name:{width}}", *[f"{' '.join(row):>20}" for row in rows])


def _show_apps(examples):
    """A row for each app of examples/apps."""
    if examples:
        print(f"\nThe apps of examples/apps, unchanged; in each cell {', '.join(PROVIDERS)} behind the sidecar")
    for app in dict.fromkeys(app for app, _ in examples):
        print(f"{app:28}", *["FAIL" if examples[app, provider] else "pass" for provider in PROVIDERS])


def _explain(results, verdict):
    """Every cell of this verdict with its reason, the same reasons together."""
    together = {}
    for lane, cells in results:
        for (scenario, provider), cell in cells.items():
            if cell.verdict == verdict:
                key = (scenario, cell.why) if verdict == "skip" else (scenario, cell.why, lane.judge.name)
                together.setdefault(key, []).append(f"{lane.judge.name} -> {provider}")
    for (scenario, why, *_), cells in together.items():
        print(f"{verdict} {scenario}, {', '.join(cells)}: {why}")


def _arguments():
    parser = argparse.ArgumentParser(prog="tests/sdk/run", description=__doc__)
    parser.add_argument("--client", default="*", help="only clients of this name (a pattern)")
    parser.add_argument("--scenario", default="*", help="only scenarios of this name (a pattern)")
    parser.add_argument("--smoke", action="store_true", help="a few scenarios of each client, for every `make test`")
    parser.add_argument("--bin", type=pathlib.Path, help="a folder with built programs; left out, they are built")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1), help="clients judged at a time")
    args = parser.parse_args()
    if not (lanes := _lanes(args)):
        parser.error("nothing fits: see conformance/table.py for the clients and conformance/scenarios.py for the scenarios")
    return args, lanes


def main():
    args, lanes = _arguments()
    tools = install.tools(args.bin)
    begun, progress = time.monotonic(), Progress(lanes)
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        running = [(lane, pool.submit(_run, lane, tools, progress)) for lane in lanes]
        results = [(lane, future.result()) for lane, future in running]
    for title in dict.fromkeys(lane.table for lane in lanes):
        _show(title, [(lane, cells) for lane, cells in results if lane.table == title])
    examples = apps.run(tools) if args.client == args.scenario == "*" else {}
    _show_apps(examples)
    print()
    _explain(results, "skip")
    _explain(results, "FAIL")
    for (app, provider), why in examples.items():
        if why:
            print(f"FAIL examples/apps/{app} -> {provider}: {why}")
    verdicts = [cell.verdict for _, cells in results for cell in cells.values()]
    verdicts += ["FAIL" if why else "pass" for why in examples.values()]
    passed, failed, skipped = (verdicts.count(each) for each in ("pass", "FAIL", "skip"))
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped in {time.monotonic() - begun:.0f} s")
    sys.exit(1 if failed else 0)
