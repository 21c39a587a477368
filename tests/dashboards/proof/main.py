"""The proof from its start to its table."""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from . import traffic, world
from .expected import EXPECTED, EXPECTED_BATCH, EXPECTED_DESK, EXPECTED_KIOSK, EXPECTED_SHELF, EXPECTED_TILL, OPEN, is_of_a_cluster
from .kept import keep
from .prometheus import Prometheus, legend, substituted
from .report import Report, judged
from .rig import Rig, call, free_port

ROOT = Path(__file__).resolve().parents[3]
ALL_OF_THEM = {"namespace": ".*", "workload": ".*", "provider": ".*", "model": ".*", "objective": "0.99"}
SHOP = {"namespace": "shop", "workload": "web", "pod": "web-1"}
# The dashboards that this world can fill; the control plane needs a cluster.
PICTURED = {"overview", "providers", "tokens", "governance", "caches"}
DESK, SHELF, TILL, KIOSK = ({"namespace": "shop", "workload": name, "pod": f"{name}-1"} for name in ("desk", "shelf", "till", "kiosk"))
LAB = {"namespace": "lab", "workload": "batch", "pod": "batch-1"}


def arguments():
    parser = argparse.ArgumentParser(prog="tests/dashboards/run", description="Every query of the dashboards against a real Prometheus.")
    parser.add_argument("--table", action="store_true", help="print all lines")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="go on for a while, and write what each panel would draw to FILE, for the pictures")
    parser.add_argument("--bin", type=Path, help="folder with bowsprit-sidecar and bowsprit-providers; built where left out")
    return parser.parse_args()


def built(*more):
    """The programs, and those of `more` packages, from the profile that the tests use anyway."""
    packages = [word for package in ("bowsprit-sidecar", "bowsprit-providers", *more) for word in ("-p", package)]
    subprocess.run(("cargo", "build", "-q", "--locked", "--features", "bowsprit-crds/schema", *packages), cwd=ROOT, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    return (ROOT / target / "debug").resolve()


def queries():
    said = subprocess.run((ROOT / "dashboards/generate", "--queries"), check=True, capture_output=True, text=True).stdout
    return json.loads(said)


class World:
    """Providers, a store, six sidecars and Prometheus, after the traffic: all that is asked about happened between `begin` and `end`."""

    def __init__(self, rig, programs):
        self.began = time.time()
        self.port, control = rig.providers(programs / "bowsprit-providers")
        call(control, "/script", world.script())
        keys = {"A_KEY": "a-key"}
        # With an outbox for the ledger, and a service that it cannot trust.
        ledger = {"BOWSPRIT_LEDGER_DIR": str(rig.folder), "BOWSPRIT_LEDGER": f"https://127.0.0.1:{free_port()}"}
        web = rig.sidecar(programs / "bowsprit-sidecar", "web", world.web(self.port, 0), **keys, **ledger)
        batch = rig.sidecar(programs / "bowsprit-sidecar", "batch", world.batch(self.port), **keys)
        till = rig.sidecar(programs / "bowsprit-sidecar", "till", world.till(self.port), **keys)
        secrets = {"keys": {"main": "a-key"}, "cache": {"url": rig.redis()}, "away": {"url": f"redis://127.0.0.1:{free_port()}/0"}}
        kiosk = rig.sidecar(programs / "bowsprit-sidecar", "kiosk", world.kiosk(self.port), **keys)
        desk = rig.in_a_pod(programs / "bowsprit-sidecar", "desk", world.desk(self.port), secrets)
        shelf = rig.in_a_pod(programs / "bowsprit-sidecar", "shelf", world.shelf(self.port, filling=False), secrets)
        traffic.filling(shelf, world.shelf(self.port, filling=True))
        self.prometheus = Prometheus(rig, [(f"127.0.0.1:{one.admin}", labels) for one, labels in ((web, SHOP), (batch, LAB), (desk, DESK), (shelf, SHELF), (till, TILL), (kiosk, KIOSK))])
        rig.callback(lambda streams: [one.close() for one in streams], traffic.held_open(web, OPEN))

        def round_of_all(turn):
            traffic.web_round(web, world.web(self.port, turn), control)
            traffic.batch_round(batch)
            traffic.desk_round(desk)
            traffic.shelf_round(shelf, turn)
            traffic.till_round(till, turn)
            traffic.kiosk_round(kiosk)

        self.round, everyone = round_of_all, ("web", "batch", "desk", "shelf", "till", "kiosk")
        # Twice, since some series come with what the second round does about the first.
        for turn in (1, 2):
            self.round(turn)
        self.begin = {name: self.now(name) for name in everyone}
        self.round(3)
        self.end = {name: self.now(name) for name in everyone}

    def now(self, workload):
        """The time of a scrape that saw all that has happened."""
        up = f'up{{workload="{workload}"}}'
        return self.prometheus.scrape_after(up, time.time())

    def ask(self, query, workload, /, **variables):
        """{series: value} of one round in one workload."""
        begin, end = self.begin[workload], self.end[workload]
        expr = substituted(query["expr"], end - begin, **(ALL_OF_THEM | variables))
        found = self.prometheus.query(expr, end)
        return {legend(query["legend"], labels): value for labels, value in found}


def everywhere(it, query):
    """The query with every variable at All, over all workloads: it must be answered, whatever the figure."""
    # Of one workload alone the round may be over before another's is scraped.
    begin, end = min(it.begin.values()), max(it.end.values())
    found = it.prometheus.query(substituted(query["expr"], end - begin, **ALL_OF_THEM), end)
    return None if found else "no series with every variable at All"


def documented():
    """The queries of docs/metrics.md and the runbooks: (page, query)."""
    for page in [ROOT / "docs/metrics.md", *sorted((ROOT / "docs/runbooks").glob("*.md"))]:
        for query in re.findall(r"```promql\n(.*?)\n```", page.read_text(), re.S):
            yield page.name, query


def asked_by_people(it, report):
    """Each must be answered; most find something only when it is needed."""
    end, found = it.end["web"], []
    for page, query in documented():
        try:
            found.append(bool(it.prometheus.query(query, end)))
        except ValueError as wrong:
            report.line(page, query, "no answer", str(wrong))
    print(f"{len(found)} queries of docs/metrics.md and docs/runbooks are answered, {sum(found)} of them with series")


def main():
    options = arguments()
    programs = options.bin or built()
    report = Report(options.table)
    asked = queries()
    known = {name for name in asked if not is_of_a_cluster(name)}
    wanted = set().union(EXPECTED, EXPECTED_DESK, EXPECTED_SHELF, EXPECTED_TILL, EXPECTED_KIOSK)
    if known != wanted:
        sys.exit(f"tests/dashboards/proof/expected.py: not each query has an expectation: {', '.join(sorted(known ^ wanted))}")
    with Rig() as rig:
        it = World(rig, programs)
        for expected, workload in ((EXPECTED, SHOP), (EXPECTED_BATCH, LAB), (EXPECTED_DESK, DESK), (EXPECTED_SHELF, SHELF), (EXPECTED_TILL, TILL), (EXPECTED_KIOSK, KIOSK)):
            name_of = workload["workload"]
            window = it.end[name_of] - it.begin[name_of]
            for name, want in expected.items():
                got = it.ask(asked[name], name_of, namespace=workload["namespace"], workload=name_of)
                report.line(name if workload is SHOP else f"{name} ({name_of})", want, got, judged(want, got, window) or everywhere(it, asked[name]))
        asked_by_people(it, report)
        if options.keep:
            for turn in range(4, len(traffic.ALIKE) + 1):
                it.round(turn)
            keep(it.prometheus, it.began + 4, it.now("web"), options.keep, PICTURED)
    elsewhere = len(asked) - len(known)
    print(f"{report.good} of {report.good + report.bad} expectations of {len(known)} queries hold; {elsewhere} queries are about a cluster and are run by tests/e2e")
    sys.exit(report.bad > 0)
