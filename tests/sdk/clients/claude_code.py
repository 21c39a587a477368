"""A real agent: npm `@anthropic-ai/claude-code`, headless, with the sidecar as its gateway.

Each scenario is one run of the program in an empty folder with a home of its own, so that nothing of this machine's user
gets into it. Updates, telemetry and error reports are off by the variables that its manual names.
"""
import json
import os
import pathlib
import subprocess
import tempfile

from serve import WORLD, serve

RUN_SECONDS = 35
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
}


def environment(asked, home, more):
    ours = {"ANTHROPIC_BASE_URL": asked["url"], "HOME": home, "CLAUDE_CONFIG_DIR": home + "/config", "PATH": os.environ["PATH"]}
    key = {} if "ANTHROPIC_AUTH_TOKEN" in more else {"ANTHROPIC_API_KEY": asked["key"]}
    return ours | key | QUIET | more


def run(asked, outcome, prompt=WORLD["question"], tools=(), env=None, files=None, args=()):
    """Runs the agent; `outcome` gets its own account of it and what it left in its folder."""
    with tempfile.TemporaryDirectory(prefix="agent-", ignore_cleanup_errors=True) as home:
        folder = pathlib.Path(home, "work")
        folder.mkdir()
        for name, text in (files or {}).items():
            (folder / name).write_text(text)
        argv = [os.environ["CLAUDE"], "-p", prompt, "--model", asked["model"], "--output-format", "stream-json", "--verbose"]
        argv += ["--tools", ",".join(tools), *args] + (["--allowedTools", *tools] if tools else [])
        done = subprocess.run(
            argv, env=environment(asked, home, env or {}), cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=RUN_SECONDS,
        )
        outcome["files"] = {each.name: each.read_text() for each in folder.iterdir() if each.is_file()}
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    outcome["exit"] = done.returncode
    outcome["said"] = (done.stdout if not events else "")[-500:] + done.stderr[-500:]
    outcome["waits"] = [event for event in events if event.get("subtype") == "api_retry"]
    outcome["results"] = [event for event in events if event["type"] == "result"]
    messages = [event["message"] for event in events if event["type"] in ("user", "assistant")]
    outcome["blocks"] = [block for message in messages for block in message["content"] if isinstance(block, dict)]


def extra_body(asked, outcome):
    """Fields and headers that only this agent's newest version, or its owner, knows."""
    env = {
        "CLAUDE_CODE_EXTRA_BODY": json.dumps({"x_future": WORLD["x_future"]}),
        "ANTHROPIC_CUSTOM_HEADERS": "x-crew: aloft",
        "ANTHROPIC_BETAS": "bowsprit-2099-01-01",
    }
    run(asked, outcome, env=env)


WORK = ("Bash", "Read")

serve({
    "prompt": run,
    "token": lambda asked, outcome: run(asked, outcome, env={"ANTHROPIC_AUTH_TOKEN": asked["key"]}),
    "extra": extra_body,
    "work": lambda asked, outcome: run(asked, outcome, tools=WORK, files={"log.txt": "wind: " + WORLD["results"]["get_weather"]}),
    "count_tokens": lambda asked, outcome: run(asked, outcome, prompt="/context"),
})
