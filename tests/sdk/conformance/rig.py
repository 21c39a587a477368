"""The processes of one lane of the table: providers, the sidecar in front of them, and a client's process."""
import json
import os
import pathlib
import selectors
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

START_SECONDS = 20
CLIENT_START_SECONDS = 120  # some SDKs load thousands of files, and at first run none of them is in memory
ASK_SECONDS = 40  # the longest scenario: two retries of an SDK with its own backoff
AIMOCK = pathlib.Path(__file__).resolve().parent.parent.parent / "providers/aimock"
KEY = "the-providers-key"
CLIENT_KEY = "the-callers-key"
MODELS = {"anthropic": "claude-sonnet-5-5", "gemini": "gemini-2.5-flash", "openai": "gpt-4.1-mini"}
EMBEDDING = {"gemini": "gemini-embedding-001", "openai": "text-embedding-3-small"}
#: Where the spare provider is: the same server, told apart by the path.
SPARE = "/spare"
KINDS = {"anthropic": "Anthropic", "gemini": "Gemini", "openai": "OpenAI"}


def after(provider):
    """The kind of the spare provider behind one of this kind."""
    kinds = list(KINDS)
    return kinds[(kinds.index(provider) + 1) % len(kinds)]


def models(provider):
    """The models that a provider is configured with."""
    return [MODELS[provider], *filter(None, [EMBEDDING.get(provider)])]


class Broken(Exception):
    """The rig itself does not work; the text says what to look at."""


def _stop(process):
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _fetch(url, body=None, method=None, **headers):
    """The JSON that a program of ours answers with."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"} | headers
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise Broken(f"{url}: {error.read().decode()}") from error


class Providers:
    """The scripted providers, all three APIs on one port."""

    def __init__(self, tools):
        argv = [tools.binaries / "bowsprit-providers", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().strip()
        if " at http" not in line:
            raise Broken(f"the scripted providers did not start: {line!r}")
        self.url = line.split(" at ")[1].split(",")[0]
        self.control = line.rsplit(" ", 1)[1]

    def ask(self, path, body=None):
        return _fetch(self.control + path, body)

    def play(self, steps):
        """Forgets what was, and does this from now on."""
        self.ask("/reset", {})
        self.ask("/script", {"steps": steps})

    def requests(self):
        """What was asked, as recorded."""
        return self.ask("/requests")

    def direct(self, path, body):
        """What a provider answers to a request of the rig's own."""
        return _fetch(self.url + path, body, authorization="Bearer " + KEY)

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


class Aimock:
    """The providers as another project understands them: npm `@copilotkit/aimock`."""

    def __init__(self, tools):
        argv = [tools.node, AIMOCK / "start.mjs"]
        env = os.environ | {"PORT": "0", "AIMOCK_MODULES": str(tools.aimock)}
        self.process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().strip()
        if " at http" not in line:
            raise Broken(f"aimock did not start: {line!r}")
        self.url = line.split(" at ")[1]

    def play(self, steps):
        """`steps`: its own fixtures, the first that matches is taken."""
        for path in ("/reset/fixtures", "/reset/journal"):
            _fetch(self.url + "/__aimock" + path, {})
        _fetch(self.url + "/__aimock/fixtures", {"fixtures": steps})

    def requests(self):
        """Its journal; the requests of all APIs are written down as chat completions."""
        return [entry for entry in _fetch(self.url + "/__aimock/journal") if entry["method"] == "POST"]

    def close(self):
        _stop(self.process)
        self.process.stdout.close()


class Sidecar:
    """A fresh sidecar with one provider behind it, so that no scenario inherits a breaker or a key set aside.

    `aliases`: names under which clients ask for the provider's model. `spare`: whether a second provider, of the kind after
    the first one's, is asked when the first fails. `route`: what a ModelRoute says through which the models are asked for.
    """

    def __init__(self, tools, providers, provider, spec, aliases=(), spare=False, route=None):
        self.folder = tempfile.TemporaryDirectory(prefix="sdk-")
        here = pathlib.Path(self.folder.name)
        documents = [self._config(provider, providers.url, provider, spec, aliases)]
        if spare:
            documents[0]["spec"]["fallbackProviders"] = ["spare"]
            documents.append(self._config("spare", providers.url + SPARE, after(provider), {}, [MODELS[provider], *aliases]))
        if route:
            meta = {"apiVersion": "bowsprit.dev/v1alpha1", "kind": "ModelRoute", "metadata": {"name": "all"}}
            match = {"models": [MODELS[provider], *aliases]}
            documents.append(meta | {"spec": {"match": match, "targets": [{"provider": provider}]} | route})
        (here / "config.json").write_text("\n---\n".join(map(json.dumps, documents)))
        self.log = here / "log"
        argv = [tools.binaries / "bowsprit-sidecar", "--config", here / "config.json"]
        argv += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(argv, env=os.environ | {"PROVIDER_KEY": KEY}, stdout=log, stderr=log)
        addresses = self._wait_until_ready()
        self.url = "http://" + addresses["listen"]

    @staticmethod
    def _config(name, url, provider, spec, aliases):
        served = [{"name": name} for name in models(provider)]
        served[0]["aliases"] = [alias for alias in aliases if alias != MODELS[provider]]
        base = {
            "provider": KINDS[provider],
            "endpoint": {"baseUrl": url + ("/v1" if provider == "openai" else ""), "allowHttp": True},
            "credentials": [{"name": "main", "env": "PROVIDER_KEY"}],
            "defaultModel": MODELS[provider],
            "models": served,
            # What is judged is one attempt; the scenarios about retries say otherwise.
            "retry": {"maxAttempts": 1},
        }
        meta = {"apiVersion": "bowsprit.dev/v1alpha1", "kind": "ProviderConfig", "metadata": {"name": name}}
        return meta | {"spec": base | spec}

    def _wait_until_ready(self):
        """The sidecar's own account of where it listens; it chose the ports, so no other process can be in the way."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]
            started = next((line for line in lines if line.get("message") == "started"), None)
            if started and self._is_ready(f"http://{started['admin']}/health/ready"):
                return started
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = self.log.read_text()[-2000:]
                self.close()
                raise Broken(f"the sidecar is not ready; its log:\n{text}")
            time.sleep(0.01)

    @staticmethod
    def _is_ready(url):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return True
        except OSError:
            return False

    def close(self):
        _stop(self.process)
        self.folder.cleanup()


class Client:
    """A client in a process of its own: a request a line in, an outcome a line out."""

    def __init__(self, argv, env):
        self.argv, self.env, self.process = argv, env, None

    def ask(self, request):
        if self.process is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self.process = subprocess.Popen(self.argv, env=os.environ | self.env, text=True, bufsize=1, **pipes)
            self._line(CLIENT_START_SECONDS)
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self._line(ASK_SECONDS))

    def _line(self, seconds):
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            line = self.process.stdout.readline() if ready.select(seconds) else None
        if not line:
            self.close()
            raise Broken(f"{self.argv[-1]} said nothing for {seconds} s" if line is None else f"{self.argv[-1]} died")
        return line

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            _stop(self.process)
            self.process.stdout.close()
            self.process = None
