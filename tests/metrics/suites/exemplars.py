"""From a bucket of a panel to the traces in it: Prometheus keeps the exemplars of the histograms of latency, and finds them by the
very queries that the dashboards send."""

import secrets
import time

from proof.main import ALL_OF_THEM, queries
from proof.prometheus import substituted

from .stage import POD

# Spans go where nobody listens: exemplars need no collector. Of traces, those alone are kept whose caller keeps them.
ENVIRONMENT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_SAMPLER": "parentbased_always_off"}


class Traced:
    """A request that says of which trace it is, and whether that trace is kept."""

    def __init__(self, stage, ask, kept=True):
        self.id = secrets.token_hex(16)
        self.begun = time.time()
        ask({"traceparent": f"00-{self.id}-{secrets.token_hex(8)}-{'01' if kept else '00'}"})
        self.answered = time.time()
        # A bucket has the last trace alone: it is seen before the next comes.
        stage.ended()

    def why_not(self, labels, exemplar):
        """What is wrong with an exemplar that has its id."""
        took, at = float(exemplar["value"]), float(exemplar["timestamp"])
        if POD.items() - labels.items():
            return f"it is of another pod: {labels}"
        if took > float(labels["le"]):
            return f"{took} s is in the bucket up to {labels['le']}"
        if not 0 < took <= self.answered - self.begun + 0.01:
            return f"it took {self.answered - self.begun} s and not {took}"
        # Written when the answer's last byte has gone, which its caller may know a little sooner.
        return None if self.begun <= at <= self.answered + 5 else f"it is of {at}, and not of {self.begun} to {self.answered}"


def play(stage, plain, streamed):
    """`plain`, `streamed`: each sends such a request with these headers. Nothing else is asked meanwhile."""
    one, other = Traced(stage, plain), Traced(stage, streamed)
    # Of these there is nothing to find.
    Traced(stage, streamed, kept=False)
    plain({})
    stage.ended()
    asked = queries()
    for name, wanted in (("duration_p99", (one, other)), ("first_token_p99", (other,))):
        expr = substituted(asked[name]["expr"], 60, **ALL_OF_THEM)
        found = stage.prometheus.exemplars(expr, one.begun - 60, time.time() + 60)
        by_id = {request.id: request for request in wanted}
        wrong = [f"{exemplar}: {why}" for labels, exemplar in found
                 if (why := by_id[exemplar["labels"]["trace_id"]].why_not(labels, exemplar) if exemplar["labels"]["trace_id"] in by_id else "no request of it is kept")]
        got = sorted(exemplar["labels"]["trace_id"] for _, exemplar in found)
        want = sorted(by_id)
        if not asked[name]["exemplars"]:
            wrong.append("no panel asks for them")
        stage.report.line(f"{stage.name}: traces in {name}", want, got, "; ".join(wrong) or (None if want == got else "not the same traces"))
