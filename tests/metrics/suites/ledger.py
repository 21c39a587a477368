"""What providers billed, what Prometheus counts and what the ledger service holds, side by side: `ledger-closes` (tests/ledger) plays
its scenarios in which nobody is killed, with a Prometheus beside sidecar and service."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

ABOUT = "bill = Prometheus = ledger service, through retries, hedges and callers that leave"
PACKAGES = ("bowsprit-ledger", "bowsprit-ledger-tests")


def play(programs, report, short):
    with tempfile.TemporaryDirectory(prefix="bowsprit-metrics-") as folder:
        lines = Path(folder) / "lines"
        # What it says last is what is shown, and is to be why it failed.
        ran = subprocess.run((programs / "ledger-closes", "--bin", programs, "--requests", "200" if short else "2000", "--scraped", lines), capture_output=True, text=True, env=os.environ | {"RUST_BACKTRACE": "0"})
        found = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    for line in found:
        want, got = line["billed"] or line["metrics"], f"{line['metrics']} in Prometheus, {line['ledger']} in the ledger"
        report.line(f"ledger: {line['scenario']}: {line['model']} {line['what']}", want, got, None if line["same"] else "not the same")
    if not found or ran.returncode and all(line["same"] for line in found):
        report.line("ledger: its scenarios", "they end well", f"exit status {ran.returncode}", (ran.stdout + ran.stderr)[-2000:])
