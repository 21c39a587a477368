"""The programs: scripted providers, sidecars and a Prometheus that scrapes them, all on free ports of loopback."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

# How long anything may take that is certain to come, on a busy machine.
SOON = 60.0


def until(what, condition):
    """Waits for a condition that is looked up again and again, and returns what it gave."""
    deadline = time.monotonic() + SOON
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {SOON:.0f} s: {what}")
        time.sleep(0.02)
    return found


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def call(port, path, body=None, headers=None, method=None):
    """One request over a connection of its own: (status, text)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SOON)
    with contextlib.closing(connection):
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        connection.request(method or ("GET" if body is None else "POST"), path, body, {"content-type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")


class Rig(contextlib.ExitStack):
    """Starts programs, and ends them, each by its own id."""

    def __init__(self):
        super().__init__()
        self.folder = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="bowsprit-dashboards-")))

    def start(self, name, *argv, **environment):
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environment})
        self.callback(end, process)
        process.log = log
        return process

    def answers(self, name, process, port, path):
        """Waits until the program answers with 200."""

        def asked():
            if process.poll() is not None:
                raise RuntimeError(f"{name} has ended: {process.log.read_text()[-2000:]}")
            with contextlib.suppress(OSError):
                return call(port, path)[0] == 200

        until(f"{name} answers {path}", asked)

    def providers(self, program):
        port, control = free_port(), free_port()
        process = self.start("providers", str(program), "--listen", f"127.0.0.1:{port}", "--control", f"127.0.0.1:{control}")
        self.answers("the scripted providers", process, control, "/healthz")
        return port, control

    def sidecar(self, program, name, documents, **environment):
        return Sidecar(self, program, name, documents, environment)

    def in_a_pod(self, program, name, documents, secrets, **environment):
        """A sidecar that has its configuration and Secrets, {name: {key: text}}, in folders, as kubelet mounts them."""
        return Mounted(self, program, name, documents, secrets, environment)

    def redis(self):
        """A store, and where it is."""
        port = free_port()
        process = self.start("redis", "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self.folder))

        def asked():
            if process.poll() is not None:
                raise RuntimeError(f"redis-server has ended: {process.log.read_text()[-2000:]}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as one:
                one.sendall(b"PING\r\n")
                return one.recv(16).startswith(b"+PONG")

        until("the store answers", asked)
        return f"redis://127.0.0.1:{port}/0"


def end(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Sidecar:
    """A running sidecar with a configuration file of its own."""

    def __init__(self, rig, program, name, documents, environment):
        self.open, self.has_ledger = 0, "BOWSPRIT_LEDGER_DIR" in environment
        self.file = rig.folder / f"{name}.yaml"
        self.configure(documents)
        self.start(rig, program, name, ("--config", str(self.file)), environment)

    def start(self, rig, program, name, argv, environment):
        self.port, self.admin = free_port(), free_port()
        process = rig.start(name, str(program), *argv, "--listen", f"127.0.0.1:{self.port}", "--admin", f"127.0.0.1:{self.admin}", **environment)
        rig.answers(name, process, self.admin, "/health/ready")

    def configure(self, documents):
        """Puts another configuration in place of the one there, at once."""
        new = self.file.with_suffix(".new")
        new.write_text("".join(f"---\n{json.dumps(document)}\n" for document in documents) if isinstance(documents, list) else documents)
        new.rename(self.file)

    def metric(self, family, **labels):
        """The sum of a family now, as /metrics has it: of its series with these labels."""
        lines = call(self.admin, "/metrics")[1].splitlines()
        wanted = [f'{name}="{value}"' for name, value in labels.items()]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((family + "{", family + " ")) and all(one in line for one in wanted))


class Mounted(Sidecar):
    """A running sidecar as a pod has one."""

    def __init__(self, rig, program, name, documents, secrets, environment):
        self.open, self.has_ledger, self.sequence = 0, False, 0
        folder = rig.folder / name
        for secret, keys in secrets.items():
            (folder / "secrets" / secret).mkdir(parents=True)
            for key, text in keys.items():
                (folder / "secrets" / secret / key).write_text(text)
        for part in ("config", "state"):
            (folder / part).mkdir()
        self.file = folder / "config/bowsprit.yaml"
        self.configure(documents)
        argv = ("--config-dir", str(folder / "config"), "--secrets-dir", str(folder / "secrets"), "--state-dir", str(folder / "state"))
        self.start(rig, program, name, argv, environment)

    def configure(self, documents):
        super().configure(documents)
        self.sequence += 1
        (self.file.parent / "sequence").write_text(str(self.sequence))
