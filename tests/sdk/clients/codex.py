"""A real agent: npm `@openai/codex`, headless, with the sidecar as a provider of its configuration.

Each scenario is one run of the program (or two, where a session is taken up again) in a folder and a home of its own, so
that nothing of this machine's user gets into it. What it would fetch or tell over the network by itself is off by its own
configuration. The sandbox that it puts commands into is off too: it needs rights that a container rarely has, and the
commands are the scenarios' own.
"""
import base64
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

from serve import WORLD, serve

RUN_SECONDS = 35
#: Its newest models are told of their tools in an item of the input, and run commands by a program that the model writes.
NEWEST = "gpt-6.2-sol"
#: This one is told of them as the API has it: functions, a custom tool, hosted ones.
OLDER = "gpt-5.5"
HERE = pathlib.Path(__file__).resolve().parent

PROVIDER = """
[model_providers.gateway]
name = "gateway"
base_url = "{url}/v1"
env_key = "GATEWAY_KEY"
wire_api = "responses"
{retries}
"""
QUIET = """
model_provider = "{provider}"
check_for_update_on_startup = false
cli_auth_credentials_store = "file"
[analytics]
enabled = false
[feedback]
enabled = false
[otel]
exporter = "none"
[features]
plugins = false
"""


def config(asked, provider, keys, tables, retries):
    """`config.toml`: keys of the top level first, tables after them."""
    own = PROVIDER if provider == "gateway" else ""
    return (keys + QUIET + own).format(url=asked["url"], provider=provider, retries=retries) + tables


def launch(argv, env, folder):
    """The program's exit status and output. It starts processes of its own: at the end of its time all are ended."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(argv, env=env, cwd=folder, text=True, start_new_session=True, **pipes)
    try:
        out, err = process.communicate(timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        err += f"\nended after {RUN_SECONDS} s"
    return process.returncode, out, err


def run(asked, outcome, prompt=WORLD["question"], model=NEWEST, provider="gateway", keys="", tables="", retries="", args=(),
        then=None):
    """Runs the agent; `outcome` gets its own account of it and what it left in its folder.

    `keys`, `tables` and `retries` are added to its configuration. `then`: the arguments of a second run, after the first.
    """
    with tempfile.TemporaryDirectory(prefix="agent-", ignore_cleanup_errors=True) as home:
        folder, own = pathlib.Path(home, "work"), pathlib.Path(home, "codex")
        folder.mkdir()
        own.mkdir()
        (folder / "log.txt").write_text("wind: calm\n")
        (folder / "flag.png").write_bytes(base64.b64decode(WORLD["image"]["data"]))
        (folder / "schema.json").write_text(json.dumps(WORLD["schema"]))
        (own / "config.toml").write_text(config(asked, provider, keys, tables, retries))
        env = {"HOME": home, "CODEX_HOME": str(own), "PATH": os.environ["PATH"]}
        env |= {"GATEWAY_KEY": asked["key"], "CODEX_API_KEY": asked["key"]}
        usual = ["--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
        usual += ["--model", model or asked["model"]]
        outcome["events"], outcome["said"] = [], ""
        for more in [[*args, prompt]] + ([then] if then else []):
            argv = [os.environ["NODE"], os.environ["CODEX"], "exec", *usual, *more]
            outcome["exit"], out, err = launch(argv, env, folder)
            outcome["events"] += [json.loads(line) for line in out.splitlines() if line.startswith("{")]
            outcome["said"] += err[-500:]
        outcome["files"] = {each.name: each.read_text() for each in folder.iterdir() if each.suffix not in (".png", ".json")}


def kind(**how):
    return lambda asked, outcome: run(asked, outcome, **how)


#: A server of tools that the agent starts; it groups what such a server has in a namespace.
PORT = f"""
[mcp_servers.port]
command = {json.dumps(sys.executable)}
args = [{json.dumps(str(HERE / "codex" / "port.py"))}]
"""

serve({
    "newest": run,
    "older": kind(model=OLDER),
    # A model that it has never heard of, as the one of another maker.
    "unknown": kind(model=None),
    "builtin": kind(model=OLDER, provider="openai", keys='openai_base_url = "{url}/v1"'),
    "port": kind(model=None, tables=PORT),
    "deferred": kind(model=OLDER, tables=PORT),
    # As its owner may set it: it would ask five times more, each a little later.
    "impatient": kind(model=OLDER, retries="request_max_retries = 0\nstream_max_retries = 1"),
    "picture": kind(model=OLDER, args=["--image", "flag.png", "--"]),
    "schema": kind(model=OLDER, args=["--output-schema", "schema.json"]),
    "resumed": kind(model=OLDER, prompt=WORLD["history"][0], then=["resume", "--last", WORLD["question"]]),
    "compacted": kind(model=OLDER, keys="model_auto_compact_token_limit = 100"),
})
