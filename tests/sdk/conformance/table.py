"""Runs client x scenario x provider and prints the table."""
import argparse
import concurrent.futures
import dataclasses
import fnmatch
import pathlib
import sys

from . import install, rig, scenarios

PROVIDERS = ["anthropic", "gemini", "openai"]


@dataclasses.dataclass
class Judge:
    """A client of the table."""

    name: str
    dialect: str
    file: str


JUDGES = [
    Judge("openai python", "openai", "openai_python.py"),
    Judge("openai node", "openai", "openai_node.mjs"),
    Judge("anthropic python", "anthropic", "anthropic_python.py"),
    Judge("anthropic node", "anthropic", "anthropic_node.mjs"),
    Judge("google-genai python", "gemini", "google_genai_python.py"),
    # No SDK: the bytes themselves, against OpenAI's published schema.
    Judge("openai schema", "openai", "openai_schema.py"),
]


@dataclasses.dataclass
class Cell:
    verdict: str  #: pass, FAIL, skip, or "-" where the API has no such thing
    why: str = ""


def _excused(judge, scenario, provider):
    if scenario.only and judge.dialect not in scenario.only:
        return Cell("-")
    if judge.name == "openai schema" and scenario.name not in scenarios.WITH_SCHEMA:
        return Cell("-")
    if why := scenario.skip.get(judge.name) or scenario.skip.get((judge.name, provider)):
        return Cell("skip", why)
    if scenario.same_only and judge.dialect != provider:
        return Cell("skip", scenario.same_only)
    return None


def _play(judge, client, providers, binaries, scenario, provider):
    """One cell: a fresh sidecar, a script, a request, a verdict."""
    if excused := _excused(judge, scenario, provider):
        return excused
    providers.ask("/reset", {})
    providers.ask("/script", {"steps": scenario.steps})
    sidecar = rig.Sidecar(binaries, providers, provider, scenario.spec)
    try:
        model = rig.MODELS[provider]
        asked = {"scenario": scenario.request or scenario.name, "url": sidecar.url, "key": rig.CLIENT_KEY}
        outcome = client.ask(asked | {"model": model, "retries": scenario.retries})
        requests = providers.ask("/requests")
        result = scenarios.Result(outcome, requests, judge.dialect, provider, providers)
        _keys_are_kept_apart(requests)
        assert "schema" not in outcome, f"against OpenAI's schema: {outcome['schema']}"
        scenario.judge(result)
        return Cell("pass")
    except (AssertionError, rig.Broken) as problem:
        return Cell("FAIL", str(problem))
    except (KeyError, TypeError, IndexError, ValueError) as problem:
        return Cell("FAIL", f"the outcome cannot be read: {problem!r}")
    finally:
        sidecar.close()


def _keys_are_kept_apart(requests):
    for request in requests:
        scenarios.equal("key at the provider", request["key"], rig.KEY)
        shown = f"{request['path']} {request['headers']} {request['body']}"
        assert rig.CLIENT_KEY not in shown, "the caller's key went to the provider"


def _lane(judge, wanted, binaries, tools):
    """All of one client: {(scenario, provider): Cell}."""
    python, node, modules = tools
    program = node if judge.file.endswith(".mjs") else python
    client = rig.Client([program, install.CLIENTS / judge.file], {"SDK_MODULES": str(modules)})
    providers = rig.Providers(binaries)
    cells = {}
    try:
        for scenario in wanted:
            for provider in PROVIDERS:
                cells[scenario.name, provider] = _play(judge, client, providers, binaries, scenario, provider)
    finally:
        client.close()
        providers.close()
    return cells


def _show(results, wanted):
    width = max(len(scenario.name) for scenario in wanted)
    print("\neach cell: " + " ".join(PROVIDERS) + " behind the sidecar")
    print(" " * width, *[f"{judge.name:>20}" for judge in _in_order(results)])
    for scenario in wanted:
        row = [" ".join(results[judge.name][scenario.name, provider].verdict for provider in PROVIDERS)
               for judge in _in_order(results)]
        print(f"{scenario.name:{width}}", *[f"{cell:>20}" for cell in row])


def _in_order(results):
    return [judge for judge in JUDGES if judge.name in results]


def _explain(results, verdict):
    """Every cell of this verdict with its reason, the same reasons together."""
    together = {}
    for name, cells in results.items():
        for (scenario, provider), cell in cells.items():
            if cell.verdict == verdict:
                together.setdefault((name, scenario, cell.why), []).append(provider)
    for (name, scenario, why), providers in together.items():
        print(f"{verdict} {scenario}, {name} -> {', '.join(providers)}: {why}")
    return sum(map(len, together.values()))


def main():
    parser = argparse.ArgumentParser(prog="tests/sdk/run", description=__doc__)
    parser.add_argument("--client", default="*", help="only clients of this name (a pattern)")
    parser.add_argument("--scenario", default="*", help="only scenarios of this name (a pattern)")
    parser.add_argument("--bin", type=pathlib.Path, help="a folder with built programs; left out, they are built")
    parser.add_argument("--jobs", type=int, default=3, help="clients judged at a time")
    args = parser.parse_args()

    judges = [judge for judge in JUDGES if fnmatch.fnmatch(judge.name, args.client)]
    wanted = [each for each in scenarios.SCENARIOS if fnmatch.fnmatch(each.name, args.scenario)]
    if not judges or not wanted:
        parser.error("nothing fits: see conformance/table.py and conformance/scenarios.py for the names")
    binaries = args.bin or install.binaries()
    tools = install.clients()

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        lanes = {judge.name: pool.submit(_lane, judge, wanted, binaries, tools) for judge in judges}
        results = {name: lane.result() for name, lane in lanes.items()}
    _show(results, wanted)
    print()
    _explain(results, "skip")
    failed = _explain(results, "FAIL")
    passed = sum(cell.verdict == "pass" for cells in results.values() for cell in cells.values())
    print(f"\n{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
