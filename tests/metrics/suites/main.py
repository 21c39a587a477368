"""The suites one after the other, and the table of them."""

import argparse
import sys
import time
from pathlib import Path

from proof.main import built
from proof.report import Report

from . import cache, concurrency, errors, ledger, pipeline, traffic

SUITES = {"traffic": traffic, "pipeline": pipeline, "cache": cache, "concurrency": concurrency, "errors": errors, "ledger": ledger}


def arguments():
    parser = argparse.ArgumentParser(prog="tests/metrics/run", description="Exact counts of scripted traffic, as a real Prometheus has them.")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"which: {', '.join(SUITES)}; all where left out")
    parser.add_argument("--table", action="store_true", help="print every figure, not only what is wrong")
    parser.add_argument("--short", action="store_true", help="fewer requests where a suite can do with them")
    parser.add_argument("--bin", type=Path, help="folder with the programs; built where left out")
    options = parser.parse_args()
    if unknown := [name for name in options.suites if name not in SUITES]:
        parser.error(f"there is no suite {unknown[0]}; there are {', '.join(SUITES)}")
    return options


def main():
    options = arguments()
    chosen = options.suites or list(SUITES)
    packages = [package for name in chosen for package in getattr(SUITES[name], "PACKAGES", ())]
    programs = options.bin or built(*packages)
    ends = []
    for name in chosen:
        report, begun = Report(options.table), time.monotonic()
        SUITES[name].play(programs, report, options.short)
        ends.append((name, SUITES[name].ABOUT, report, time.monotonic() - begun))
    print(f"\n{'suite':12}  {'figures':>7}  {'wrong':>5}  {'took':>6}  about")
    for name, about, report, took in ends:
        print(f"{name:12}  {report.good + report.bad:7}  {report.bad:5}  {took:4.0f} s  {about}")
    sys.exit(any(report.bad for _, _, report, _ in ends))
