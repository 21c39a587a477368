"""Measures: each round starts every contender afresh, one after the other, so that what the machine does beside hits all."""
import json
import subprocess
import tempfile
import time

from . import contender as contenders
from . import machine, table

SETTLE_SECONDS = 1.5  # from the first answer to idle RSS
WARM_UP_CONNECTIONS = 16
RATE_TURNS = 2  # direct, contender, direct, contender: drift of the machine hits both


class Load:
    """The load tool, on the load's core."""

    def __init__(self, tools):
        self.program = tools / "load"

    def __call__(self, scenario, address, seconds, mode=None, connections=None):
        with tempfile.NamedTemporaryFile(prefix="bench-body-") as body:
            body.write(table.body_of(scenario))
            body.flush()
            argv = [self.program, mode or scenario.mode, f"http://{address}{scenario.path}", "--body", body.name]
            argv += ["--connections", connections or scenario.connections, "--seconds", seconds]
            for header in scenario.headers:
                argv += ["--header", header]
            if scenario.rate:
                argv += ["--rate", scenario.rate]
            if scenario.events:
                argv += ["--events", scenario.events]
            done = subprocess.run([str(x) for x in argv], capture_output=True, text=True, timeout=seconds + 90)
        if done.returncode != 0:
            raise contenders.Failed(f"the load tool failed: {done.stderr.strip()}")
        return json.loads(done.stdout)


def measure(running, direct, setup, load, seconds):
    """One contender, one round."""
    run = {"contender": running.name, "setup": setup.name, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    if running.pid:
        run["cold_start_ms"] = running.cold_start_ms
        time.sleep(min(SETTLE_SECONDS, seconds / 2))
        run["rss_idle_mib"] = machine.rss_mib(running.pid)
    scenarios = table.scenarios_of(setup.name)
    load(scenarios[0], running.address, min(2, seconds / 3), connections=WARM_UP_CONNECTIONS)
    for scenario in scenarios:
        length = max(scenario.shortest, seconds * scenario.length)
        if scenario.mode != "rate":
            run[scenario.name] = [timed(running, scenario, load, length)]
        else:
            run[scenario.name], run[f"{scenario.name}_direct"] = [], []
            for _ in range(RATE_TURNS):
                run[f"{scenario.name}_direct"].append(load(scenario, direct.address, length))
                run[scenario.name].append(timed(running, scenario, load, length))
        if running.pid and "rss_loaded_mib" not in run and scenario.connections >= table.CONNECTIONS:
            run["rss_loaded_mib"] = machine.rss_mib(running.pid)
    if running.pid:
        run["rss_end_mib"] = machine.rss_mib(running.pid)
    return run


def timed(running, scenario, load, seconds):
    """A load, with the contender's CPU time and how busy both cores were."""
    cores, begun = machine.core_times(), time.monotonic()
    before = machine.cpu(running.pid) if running.pid else None
    part = load(scenario, running.address, seconds)
    if running.pid:
        part["cpu_seconds"] = machine.cpu_between(before, machine.cpu(running.pid))
        part["core_share"] = part["cpu_seconds"] / (time.monotonic() - begun)
    after = machine.core_times()
    part["busy"] = {core: round((after[core][0] - cores[core][0]) / max(1, after[core][1] - cores[core][1]), 3) for core in after}
    part["stolen_seconds"] = sum(after[core][2] - cores[core][2] for core in after) / machine.TICKS
    return part


def run(names, programs, tools, rounds, seconds, say):
    """All rounds: a list of runs, each with its round. A contender that fails is a run with `failed`."""
    load, found = Load(tools), []
    for number in range(1, rounds + 1):
        for setup in table.SETUPS:
            with contenders.Upstream(tools, setup) as upstream:
                for name in names:
                    one = _one(name, programs, setup, upstream, load, seconds)
                    if one:
                        one["round"] = number
                        found.append(one)
                        say(one)
    return found


def _one(name, programs, setup, upstream, load, seconds):
    direct = contenders.Direct(upstream)
    if name == table.DIRECT:
        place = direct
    else:
        contender = next(x for x in table.CONTENDERS if x.name == name)
        if setup.name not in contender.configs:
            return None
        place = contenders.Running(contender, programs[name], setup, upstream)
    try:
        with place as running:
            return measure(running, direct, setup, load, seconds)
    except (contenders.Failed, OSError, subprocess.SubprocessError) as error:
        return {"contender": name, "setup": setup.name, "failed": f"{error}"}


def check(names, programs, tools, say):
    """Asks every contender once per scenario and compares with the upstream's own answer; the number of faults."""
    faults = 0
    for setup in table.SETUPS:
        with contenders.Upstream(tools, setup) as upstream:
            # A fixed rate asks nothing that the closed load does not.
            scenarios = [x for x in table.scenarios_of(setup.name) if x.mode != "rate"]
            direct = contenders.Direct(upstream)
            expected = {x.name: contenders.meaning(x, contenders.ask(direct.address, x)[1]) for x in scenarios}
            for name in names:
                faults += _check_one(name, programs, setup, upstream, direct, scenarios, expected, say)
    return faults


def _check_one(name, programs, setup, upstream, direct, scenarios, expected, say):
    contender = next((x for x in table.CONTENDERS if x.name == name), None)
    if contender and setup.name not in contender.configs:
        return 0
    faults = 0
    try:
        with contenders.Running(contender, programs[name], setup, upstream) if contender else direct as running:
            for scenario in scenarios:
                status, body = contenders.ask(running.address, scenario)
                fault = contenders.verify(scenario, expected[scenario.name], status, body)
                faults += fault is not None
                say(name, setup.name, scenario.name, fault, len(body))
    except (contenders.Failed, OSError) as error:
        faults += 1
        say(name, setup.name, "start", f"{error}", 0)
    return faults
