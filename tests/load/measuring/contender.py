"""A contender between caller and upstream: started from its configuration, asked, stopped."""
import contextlib
import http.client
import json
import os
import pathlib
import subprocess
import tempfile
import time

from . import machine, table

FOLDER = pathlib.Path(__file__).resolve().parent.parent
START_SECONDS = 20  # to the first 200
POLL_SECONDS = 0.001
ASK_SECONDS = 10


class Failed(Exception):
    """Something did not start or did not answer; the text says what, and what to look at."""


class Upstream:
    """The fixed upstream, on the load's core, for as long as the block runs."""

    def __init__(self, tools, setup):
        self.tls = setup.tls
        self.argv = [str(tools / "upstream"), "--listen", "127.0.0.1:0", *setup.upstream]

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="bench-upstream-")
        # Laid out as the sidecar's --ca-dir wants it, a folder for each ConfigMap; contenders may run as another user.
        self.authorities = pathlib.Path(self.folder.name)
        self.authorities.chmod(0o755)
        argv = list(self.argv)
        if self.tls:
            (self.authorities / "bench").mkdir()
            argv += ["--tls-ca", str(self.authorities / "bench" / "ca.crt")]
        self.process = machine.start(argv, machine.LOAD_CORE, stdout=subprocess.PIPE)
        try:
            self.address = self._said("listening on ")
            self.asked_at = self._said("tls on ") if self.tls else self.address
        except BaseException:
            self.__exit__()
            raise
        return self

    def _said(self, what):
        line = self.process.stdout.readline().decode().strip()
        if not line.startswith(what):
            raise Failed(f"the upstream did not start: {' '.join(self.argv)}")
        return line.removeprefix(what)

    def __exit__(self, *_):
        machine.stop(self.process)
        self.process.stdout.close()
        self.folder.cleanup()


class Running:
    """A contender in one setup, from its start to its end. `cold_start_ms` is from exec to the first 200."""

    def __init__(self, contender, program, setup, upstream):
        self.name = contender.name
        self.contender, self.program = contender, os.path.abspath(program)
        self.config = FOLDER / "contenders" / contender.config
        self.setup, self.upstream = setup, upstream

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix=f"bench-{self.name}-")
        run = pathlib.Path(self.folder.name)
        run.chmod(0o755)  # nginx started by root gives its worker another user
        self.address = getattr(self.upstream, "listen", None) or f"127.0.0.1:{machine.free_port()}"
        fill = table.FILL | self.setup.fill  # first, as their values may have words in them that follow
        fill |= {
            "@PROGRAM@": self.program,
            "@RUN@": str(run),
            "@CONFIG@": str(run / self.config.name),
            "@LISTEN@": self.address,
            "@ADMIN@": f"127.0.0.1:{machine.free_port()}",
            "@CA@": str(self.upstream.authorities),
            "@UPSTREAM@": self.upstream.asked_at,
            "@KEY@": table.UPSTREAM_KEY,
        }
        (run / self.config.name).write_text(_filled(self.config.read_text(), fill))
        self.log = run / "output.log"
        argv = [_filled(argument, fill) for argument in (*self.contender.argv, *self.setup.arguments)]
        probe = table.probe(self.setup.name)
        with open(self.log, "wb") as log:
            begun = time.monotonic()
            env = os.environ | self.contender.env | {name: _filled(value, fill) for name, value in self.setup.env.items()}
            self.process = machine.start(argv, machine.PROXY_CORE, env=env, cwd=run, stdout=log, stderr=log)
        try:
            self._await_first_answer(probe, begun)
        except BaseException:
            self.__exit__()
            raise
        self.cold_start_ms = (time.monotonic() - begun) * 1000
        return self

    def _await_first_answer(self, probe, begun):
        status = "none"
        while time.monotonic() - begun < START_SECONDS:
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended with {self.process.returncode} at its start. {self._said()}")
            try:
                status, _ = ask(self.address, probe)
                if status == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(POLL_SECONDS)
        raise Failed(f"{self.name} gave no 200 in {START_SECONDS} s; its last status was {status}. {self._said()}")

    def _said(self):
        # Some write to a log file of their own instead.
        said = "".join(file.read_text(errors="replace") for file in sorted(self.log.parent.glob("*.log"))).strip()[-1500:]
        return f"It said:\n{said}" if said else "It printed nothing."

    @property
    def pid(self):
        return self.process.pid

    @property
    def binary_mib(self):
        return os.stat(os.path.realpath(self.program)).st_size / 2**20

    def __exit__(self, *_):
        machine.stop(self.process)
        self.folder.cleanup()


class Direct:
    """The upstream itself in a contender's place: what the load tool and loopback cost alone."""

    name, cold_start_ms, pid = table.DIRECT, None, None

    def __init__(self, upstream):
        self.address = upstream.address

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def _filled(text, fill):
    for name, value in fill.items():
        text = text.replace(name, value)
    return text


def ask(address, scenario):
    """One request on a connection of its own: (status, body)."""
    connection = http.client.HTTPConnection(address, timeout=ASK_SECONDS)
    try:
        headers = dict(header.split(": ", 1) for header in scenario.headers) | {"content-type": "application/json"}
        connection.request("POST", scenario.path, table.body_of(scenario), headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@contextlib.contextmanager
def request(scenario, address):
    """The arguments by which a tool is told what to send; its file is there while the block runs."""
    with tempfile.NamedTemporaryFile(prefix="bench-body-") as body:
        body.write(table.body_of(scenario))
        body.flush()
        headers = [part for header in scenario.headers for part in ("--header", header)]
        yield [f"http://{address}{scenario.path}", "--body", body.name, *headers]


def meaning(scenario, body):
    """An answer as comparable data: what the scenario makes of it, or else its JSON or the list of its events."""
    if scenario.meaning:
        return scenario.meaning(body)
    if not scenario.events:
        return json.loads(body)
    lines = [line[5:].strip() for line in body.decode().splitlines() if line.startswith("data:")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def verify(scenario, expected, status, body):
    """What is wrong with an answer, or None. `expected`: the meaning of the upstream's own answer."""
    if status != 200:
        return f"status {status}: {body[:300]!r}"
    try:
        found = meaning(scenario, body)
    except ValueError as error:
        return f"not JSON ({error}): {body[:300]!r}"
    if found == expected:
        return None
    if not (isinstance(found, list) and isinstance(expected, list)):
        return f"another answer than the upstream's: {_short(found)} instead of {_short(expected)}"
    if len(found) != len(expected):
        return f"{len(found)} events where {len(expected)} were expected"
    at = next(at for at, (got, wanted) in enumerate(zip(found, expected)) if got != wanted)
    return f"event {at} is another than the upstream's: {_short(found[at])} instead of {_short(expected[at])}"


def _short(data):
    return json.dumps(data)[:300]
