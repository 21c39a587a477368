"""The processes of one lane of the table: scripted providers, the sidecar in front of them, and an SDK's process."""
import json
import os
import pathlib
import selectors
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

START_SECONDS = 20
ASK_SECONDS = 40  # the longest scenario: two retries of an SDK with its own backoff
KEY = "the-providers-key"
CLIENT_KEY = "the-callers-key"
MODELS = {"anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.5-flash", "openai": "gpt-4.1-mini"}
KINDS = {"anthropic": "Anthropic", "gemini": "Gemini", "openai": "OpenAI"}


class Broken(Exception):
    """The rig itself does not work; the text says what to look at."""


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _stop(process):
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Providers:
    """The scripted providers, all three APIs on one port."""

    def __init__(self, binaries):
        argv = [binaries / "bowsprit-providers", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().strip()
        if " at http" not in line:
            raise Broken(f"the scripted providers did not start: {line!r}")
        self.url = line.split(" at ")[1].split(",")[0]
        self.control = line.rsplit(" ", 1)[1]

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(self.control + path, data, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Broken(f"{path}: {error.read().decode()}") from error

    def wait_for(self, condition, seconds=5):
        """Asks for the counts until the condition holds; the last counts either way."""
        deadline = time.monotonic() + seconds
        while True:
            counts = self.ask("/counts")
            if condition(counts) or time.monotonic() > deadline:
                return counts
            time.sleep(0.02)

    def close(self):
        _stop(self.process)
        self.process.stdout.close()


class Sidecar:
    """A fresh sidecar with one provider behind it, so that no scenario inherits a breaker or a key set aside."""

    def __init__(self, binaries, providers, provider, spec):
        self.folder = tempfile.TemporaryDirectory(prefix="sdk-")
        here = pathlib.Path(self.folder.name)
        (here / "config.json").write_text(json.dumps(self._config(providers, provider, spec)))
        port, admin = _free_port(), _free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = here / "log"
        argv = [binaries / "bowsprit-sidecar", "--config", here / "config.json"]
        argv += ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(argv, env=os.environ | {"PROVIDER_KEY": KEY}, stdout=log, stderr=log)
        self._wait_until_ready(f"http://127.0.0.1:{admin}/health/ready")

    @staticmethod
    def _config(providers, provider, spec):
        base = {
            "provider": KINDS[provider],
            "endpoint": {"baseUrl": providers.url + ("/v1" if provider == "openai" else ""), "allowHttp": True},
            "credentials": [{"name": "main", "env": "PROVIDER_KEY"}],
            "defaultModel": MODELS[provider],
            "models": [{"name": MODELS[provider]}],
            # What is judged is one attempt; the scenarios about retries say otherwise.
            "retry": {"maxAttempts": 1},
        }
        meta = {"apiVersion": "bowsprit.dev/v1alpha1", "kind": "ProviderConfig", "metadata": {"name": provider}}
        return meta | {"spec": base | spec}

    def _wait_until_ready(self, url):
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(url, timeout=5).close()
                return
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    text = self.log.read_text()[-2000:]
                    self.close()
                    raise Broken(f"the sidecar is not ready ({error}); its log:\n{text}") from error
                time.sleep(0.01)

    def close(self):
        _stop(self.process)
        self.folder.cleanup()


class Client:
    """An SDK in a process of its own: a request a line in, an outcome a line out."""

    def __init__(self, argv, env):
        self.argv, self.env, self.process = argv, env, None

    def ask(self, request):
        if self.process is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self.process = subprocess.Popen(self.argv, env=os.environ | self.env, text=True, bufsize=1, **pipes)
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            line = self.process.stdout.readline() if ready.select(ASK_SECONDS) else None
        if not line:
            self.close()
            raise Broken(f"{self.argv[-1]} said nothing for {ASK_SECONDS} s" if line is None else f"{self.argv[-1]} died")
        return json.loads(line)

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            _stop(self.process)
            self.process.stdout.close()
            self.process = None
