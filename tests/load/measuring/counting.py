"""Counts what a request costs a contender in its own code: instructions and allocations, under valgrind's callgrind.

A count does not depend on how busy the machine is. Caller and upstream take turns on one connection each (the `lockstep` tool), so a
run is the same work each time. Each figure is the difference of two runs that differ in one number, divided by it: what the start and the
end cost, and what is warmed up once, is in both and falls out.
"""
import concurrent.futures
import contextlib
import json
import pathlib
import re
import subprocess
import tempfile
from dataclasses import dataclass, replace

from . import contender as contenders
from . import machine, table

FEW, MANY = 50, 250  # requests of the two runs
STREAMS, FEW_EVENTS, MANY_EVENTS = 12, 8, 40  # streams of each run, and the content events in each
STOP_SECONDS = 60  # to end and write the profile
ALLOCATORS = {"malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign"}


@dataclass(frozen=True)
class Count:
    """A figure: what one more `unit` in this scenario costs."""

    name: str
    setup: str
    scenario: str

    @property
    def unit(self):
        return _scenario(self).unit


COUNTS = [
    Count("plain", "openai", "plain"),
    Count("recorded", "recorded", "plain"),
    Count("kept", "kept", "plain"),
    Count("limited", "limited", "plain"),
    Count("ruled", "ruled", "plain"),
    Count("spending", "spending", "plain"),
    Count("guarded", "guarded", "plain"),
    Count("governed", "governed", "plain"),
    Count("chunk", "openai", "stream"),
    Count("guarded chunk", "guarded", "stream"),
    Count("tls", "tls", "plain"),
    Count("openai-anthropic", "openai-anthropic", "plain"),
    Count("openai-gemini", "openai-gemini", "plain"),
    Count("anthropic-openai", "anthropic-openai", "plain"),
    Count("openai-anthropic chunk", "openai-anthropic", "stream"),
]


def _scenario(count):
    return next(x for x in table.scenarios_of(count.setup) if x.name == count.scenario)


def run(programs, tools, at_once=2, keep=None):
    """(contender, count) -> {"instructions": of each unit, "allocations": of each unit}. Runs that many programs at once, for speed only.

    `keep`: a folder for the profiles, which are deleted otherwise.
    """
    wanted = [
        (contender, count)
        for contender in table.CONTENDERS
        for count in COUNTS
        if contender.name in programs and count.setup in contender.setups and contender.counted is not None
    ]
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        each = [(key, pool.submit(_count, key[0], programs[key[0].name], key[1], tools, keep)) for key in wanted]
        return {(contender.name, count.name): future.result() for (contender, count), future in each}


def _count(contender, program, count, tools, keep):
    scenario = _scenario(count)
    if scenario.unit == "chunk":
        runs, more = [(STREAMS, FEW_EVENTS), (STREAMS, MANY_EVENTS)], STREAMS * (MANY_EVENTS - FEW_EVENTS)
    else:
        runs, more = [(FEW, 1), (MANY, 1)], MANY - FEW
    few, many = (_profile(contender, program, count, requests, events, tools, keep) for requests, events in runs)
    return {what: (many[what] - few[what]) / more for what in few}


def _profile(contender, program, count, requests, events, tools, keep):
    """Instructions and allocations of one run."""
    setup = next(x for x in table.SETUPS if x.name == count.setup)
    with tempfile.TemporaryDirectory(prefix="bench-profile-") as folder:
        file = pathlib.Path(keep or folder) / f"{contender.name}-{count.name.replace(' ', '-')}-{requests}x{events}.callgrind"
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={file}"]
        watched = replace(contender, argv=[*valgrind, *contender.argv, *contender.counted])
        with Lockstep(tools, setup, _scenario(count), requests, events) as peers:
            with Watched(watched, program, setup, peers) as running:
                peers.finish()
                running.stop()
        return read(file.read_text())


class Watched(contenders.Running):
    """A contender under valgrind. It is asked nothing but what is counted."""

    def _await_first_answer(self, probe, begun):
        pass

    def stop(self):
        """Ends it as Kubernetes would, so that the profile is written."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise contenders.Failed(f"{self.name} did not end in {STOP_SECONDS} s. {self._said()}") from None


class Lockstep:
    """Caller and upstream of one run. What `contender.Running` asks of an upstream, and where the contender has to listen."""

    def __init__(self, tools, setup, scenario, requests, events):
        only = setup.upstream[: setup.upstream.index("--events")]
        self.argv = [str(tools / "lockstep"), *only, "--requests", str(requests), "--events", str(events)]
        self.scenario, self.setup = scenario, setup

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            self.authorities = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-upstream-")))
            self.authorities.chmod(0o755)
            (self.authorities / "bench").mkdir()
            self.listen = f"127.0.0.1:{machine.free_port()}"
            argv = [*self.argv, *stack.enter_context(contenders.request(self.scenario, self.listen))]
            argv += ["--tls-ca", str(self.authorities / "bench" / "ca.crt")] if self.setup.tls else []
            self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            stack.callback(self._end)
            self.address = self.asked_at = self._line().removeprefix("listening on ")
            self.stack = stack.pop_all()
        return self

    def _end(self):
        self.process.communicate()  # which ends its input, and with it the tool

    def _line(self):
        line = self.process.stdout.readline().decode().strip()
        if not line:
            raise contenders.Failed(f"the lockstep tool failed: {self.process.stderr.read().decode().strip()}")
        return line

    def finish(self):
        """Waits until all requests are answered."""
        return json.loads(self._line())

    def __exit__(self, *_):
        self.stack.close()


def read(profile):
    """Instructions and allocations in a profile that callgrind wrote: https://valgrind.org/docs/manual/cl-format.html

    A name stands in it once, with a number; after that the number alone. Calls from one allocating function to another are not allocations.
    """
    names, caller, callee, allocations = {}, None, None, 0
    for line in profile.splitlines():
        found = re.match(r"(c?)fn=\((\d+)\)(?: (.*))?$", line)
        if found:
            called, number, name = found.groups()
            name = names.setdefault(number, name)
            caller, callee = (caller, name) if called else (name, None)
        elif line.startswith("calls="):
            if allocates(callee) and not allocates(caller):
                allocations += int(line[6:].split()[0])
    instructions = re.search(r"^(?:summary|totals): (\d+)", profile, re.M)
    if not instructions:
        raise contenders.Failed("callgrind wrote no profile")
    return {"instructions": int(instructions.group(1)), "allocations": allocations}


def allocates(function):
    """Whether a function of the C library, by the name that callgrind gives it, hands out memory."""
    return re.sub(r"^__libc_|'\d+$|@.*$", "", function or "") in ALLOCATORS
