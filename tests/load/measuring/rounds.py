"""Measures: each round starts every contender afresh, one after the other, so that what the machine does beside hits all."""
import contextlib
import dataclasses
import json
import subprocess
import time

from . import contender as contenders
from . import machine, table

SETTLE_SECONDS = 1.0  # from the first answer, or from the end of many connections, until memory is read
WARM_UP_CONNECTIONS = 16
WARM_UP_SECONDS = 1.0
RATE_TURNS = 2  # direct, contender, direct, contender: drift of the machine hits both
HOLD_TURNS = 2  # the second shows whether memory that does not come back is at least used again


class Load:
    """The load tool, on the load's core."""

    def __init__(self, tools):
        self.program = tools / "load"

    def __call__(self, scenario, address, seconds, mode=None, connections=None):
        with contenders.request(scenario, address) as request:
            argv = [self.program, mode or scenario.mode, *request]
            argv += ["--connections", connections or scenario.connections, "--seconds", seconds]
            if scenario.rate:
                argv += ["--rate", scenario.rate]
            if scenario.events:
                argv += ["--events", scenario.events]
            done = subprocess.run([str(x) for x in argv], capture_output=True, text=True, timeout=seconds + 90)
        if done.returncode != 0:
            raise contenders.Failed(f"the load tool failed: {done.stderr.strip()}")
        return json.loads(done.stdout)


class Hold:
    """The tool that holds connections open, on the load's core."""

    def __init__(self, tools):
        self.program = tools / "hold"

    @contextlib.contextmanager
    def __call__(self, scenario, address):
        """While the block runs all are open. Gives a dictionary that has `lost`, once the block is left."""
        pipe = subprocess.PIPE
        with contenders.request(scenario, address) as request:
            argv = [self.program, *request, "--connections", scenario.connections]
            argv += ["--streams"] if scenario.mode == "open" else []
            with subprocess.Popen([str(x) for x in argv], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
                counts = self._line(process)
                try:
                    if counts["open"] != scenario.connections:
                        wanted = f"{scenario.connections} connections"
                        raise contenders.Failed(f"{counts['open']} of {wanted} could be opened: {counts['last_error']}")
                    yield counts
                finally:
                    process.stdin.close()  # which lets them go
                counts |= self._line(process)

    @staticmethod
    def _line(process):
        line = process.stdout.readline()
        if not line:
            raise contenders.Failed(f"the hold tool failed: {process.stderr.read().strip()}")
        return json.loads(line)


def measure(running, direct, setup, tools, seconds):
    """One contender, one round."""
    load, hold = Load(tools), Hold(tools)
    run = {"contender": running.name, "setup": setup.name, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    if running.pid:
        run |= {"cold_start_ms": running.cold_start_ms, "binary_mib": running.binary_mib}
        time.sleep(min(SETTLE_SECONDS, seconds / 2))
        run["rss_idle_mib"] = machine.rss_mib(running.pid)
    scenarios = table.scenarios_of(setup.name)
    if not scenarios[0].held:
        load(scenarios[0], running.address, min(WARM_UP_SECONDS, seconds / 3), connections=WARM_UP_CONNECTIONS)
    for scenario in scenarios:
        length = max(scenario.shortest, seconds * scenario.length)
        if scenario.held:
            run[scenario.name] = [held(running, scenario, hold) for _ in range(HOLD_TURNS)]
        elif scenario.mode != "rate":
            run[scenario.name] = [timed(running, scenario, load, length)]
        else:
            run |= rate(running, direct, scenario, load, length)
        if running.pid and "rss_loaded_mib" not in run and scenario.connections == table.CONNECTIONS:
            run["rss_loaded_mib"] = machine.rss_mib(running.pid)
    if running.pid:
        run["rss_end_mib"] = machine.rss_mib(running.pid)
    return run


def rate(running, direct, scenario, load, seconds):
    """A fixed rate in turns with the same without the contender: `NAME` and `NAME_direct`."""
    own, without = [], []
    for _ in range(RATE_TURNS):
        if running.pid:
            without.append(load(scenario, direct.address, seconds))
        own.append(timed(running, scenario, load, seconds))
    return {scenario.name: own} | ({f"{scenario.name}_direct": without} if without else {})


def held(running, scenario, hold):
    """Memory with all connections open, and after they are closed."""
    with hold(scenario, running.address) as counts:
        time.sleep(SETTLE_SECONDS)
        open_mib = machine.rss_mib(running.pid)
    time.sleep(SETTLE_SECONDS)
    part = {"open": counts["open"], "bad": 0, "io": counts["lost"], "last_error": counts["last_error"]}
    return part | {"open_mib": open_mib, "closed_mib": machine.rss_mib(running.pid)}


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
    """All rounds: a list of runs, each with its round. A contender that fails is a run with `failed`, and one that answers
    wrongly has failed before its first round."""
    expected, found = _expected(tools), []
    for number in range(1, rounds + 1):
        for setup in table.SETUPS:
            if number > setup.rounds or left_out(setup):
                continue
            with contenders.Upstream(tools, setup) as upstream:
                for name in taking_part(names, setup):
                    one = _one(name, programs, setup, upstream, tools, seconds, expected if number == 1 else {})
                    one["round"] = number
                    found.append(one)
                    say(one)
    return found


def taking_part(names, setup):
    own = [contender.name for contender in table.CONTENDERS if setup.name in contender.setups]
    return [name for name in names if name in own or (name == table.DIRECT and setup.direct)]


def left_out(setup):
    """Why a setup cannot be measured here, or None."""
    allowed = machine.open_files(setup.open_files)
    if allowed >= setup.open_files:
        return None
    return f"{setup.open_files} open files are needed and {allowed} allowed: run it as root, or raise `ulimit -Hn`"


def _place(name, programs, setup, upstream):
    if name == table.DIRECT:
        return contenders.Direct(upstream)
    contender = next(x for x in table.CONTENDERS if x.name == name)
    return contenders.Running(contender, programs[name], setup, upstream)


def _one(name, programs, setup, upstream, tools, seconds, expected):
    direct = contenders.Direct(upstream)
    try:
        with _place(name, programs, setup, upstream) as running:
            for scenario, fault, _ in answers(running, setup, expected):
                if fault:
                    raise contenders.Failed(f"a wrong answer ({scenario.name}): {fault}")
            return measure(running, direct, setup, tools, seconds)
    except (contenders.Failed, OSError, subprocess.SubprocessError) as error:
        return {"contender": name, "setup": setup.name, "failed": f"{error}"}


def _expected(tools):
    """(setup, scenario) -> meaning of the upstream's own answer. A fixed rate, and connections that are held, ask nothing that
    the others do not."""
    asked = [x for x in table.SCENARIOS if not x.held and x.mode != "rate"]
    everything = dataclasses.replace(table.SETUPS[0], upstream=("--events", str(table.EVENTS), "--interval-ms", "0"))
    with contenders.Upstream(tools, everything) as upstream:
        return {(x.setup, x.name): contenders.meaning(x, contenders.ask(upstream.address, x)[1]) for x in asked}


def answers(running, setup, expected):
    """Asks for each expected answer once: (scenario, what is wrong with the answer or None, its bytes)."""
    for scenario in table.scenarios_of(setup.name):
        if (setup.name, scenario.name) in expected:
            status, body = contenders.ask(running.address, scenario)
            yield scenario, contenders.verify(scenario, expected[setup.name, scenario.name], status, body), len(body)


def check(names, programs, tools, say):
    """Asks every contender once per scenario and compares with the upstream's own answer; the number of faults."""
    expected, faults = _expected(tools), 0
    for setup in table.SETUPS:
        if not any(of == setup.name for of, _ in expected):
            continue
        with contenders.Upstream(tools, setup) as upstream:
            for name in taking_part(names, setup):
                try:
                    with _place(name, programs, setup, upstream) as running:
                        for scenario, fault, size in answers(running, setup, expected):
                            faults += fault is not None
                            say(name, setup.name, scenario.name, fault, size)
                except (contenders.Failed, OSError) as error:
                    faults += 1
                    say(name, setup.name, "start", f"{error}", 0)
    return faults
