"""The way of a configuration: published by the operator's own hub of streams, applied by sidecars, acknowledged, and seen in both
ends' metrics. What needs an apiserver (reconciling, admission) is asked on a cluster, in tests/e2e/tests/observability.rs."""

import json
import subprocess
import time

from proof.rig import Sidecar, free_port, until

from .stage import Stage, Within, provider, route

ABOUT = "a change published, pushed, applied and acknowledged: streams, sequence, age, certificate"
PACKAGES = ("bowsprit-hub",)

DAY = 24 * 3600.0
HUB = {"namespace": "bowsprit-system", "workload": "bowsprit", "pod": "operator"}


class Hub:
    """The operator's end of the streams, by its lines (tests/hub)."""

    def __init__(self, stage):
        log = (stage.folder / "hub.log").open("wb")
        stage.callback(log.close)
        self.process = subprocess.Popen((str(stage.programs / "bowsprit-hub"),), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        stage.callback(self.process.kill)
        said = self.heard()
        self.url, self.admin = said["stream"], said["admin"]
        self.ca = stage.folder / "ca.crt"
        self.ca.write_text(said["ca"])
        stage.answers("the hub", Running(stage, self.process), self.admin, "/metrics")
        stage.instances.append((f"127.0.0.1:{self.admin}", HUB))

    def heard(self):
        return json.loads(self.process.stdout.readline())

    def say(self, **what):
        print(json.dumps(what), file=self.process.stdin, flush=True)
        return self.heard()

    def publish(self, namespace, sequence, documents):
        """Gives the time at which it was."""
        now = time.time()
        self.say(publish={"namespace": namespace, "sequence": sequence, "text": as_text(documents)})
        return now

    def acknowledged(self, namespace, sequence, pods):
        """Waits until these pods have reported it."""
        until(f"{sequence} is acknowledged by {pods}", lambda: all(self.say(reports=namespace).get(pod, {}).get("sequence") == sequence for pod in pods))


class Running:
    """A process as the rig looks at one."""

    def __init__(self, stage, process):
        self.poll, self.log = process.poll, stage.folder / "hub.log"


class Streaming(Sidecar):
    """A sidecar as a pod has it: a mounted folder, and a stream to the operator."""

    def __init__(self, stage, hub, pod, documents, namespace="shop", claims=None, state=True):
        self.open, self.has_ledger = 0, False
        folder = stage.folder / pod
        self.config = folder / "config"
        for one in (self.config, folder / "secrets/keys", folder / "state"):
            one.mkdir(parents=True)
        (folder / "secrets/keys/first").write_text("key-of-first")
        (folder / "token").write_text(hub.say(token={"namespace": namespace, "pod": pod, **(claims or {})}))
        self.mount(documents, 1)
        self.port, self.admin = free_port(), free_port()
        process = stage.start(
            pod, str(stage.programs / "bowsprit-sidecar"), "--config-dir", str(self.config), "--secrets-dir", str(folder / "secrets"), "--state-dir", str(folder / "state"),
            "--operator", hub.url, "--operator-ca", str(hub.ca), "--operator-token", str(folder / "token"), "--listen", f"127.0.0.1:{self.port}", "--admin", f"127.0.0.1:{self.admin}")
        stage.answers(pod, process, self.admin, "/health/ready")
        stage.sidecars.append(self)
        stage.instances.append((f"127.0.0.1:{self.admin}", {"namespace": namespace, "workload": "web", "pod": pod}))

    def mount(self, documents, sequence):
        """What the ConfigMap's folder holds from now on."""
        for name, text in (("bowsprit.yaml", as_text(documents)), ("sequence", str(sequence))):
            new = self.config / f".{name}.new"
            new.write_text(text)
            new.rename(self.config / name)


def as_text(documents):
    return "".join(f"---\n{json.dumps(one)}\n" for one in documents)


def documents(port, turn):
    """As the operator writes them: keys in mounted Secrets. `turn` makes one differ from the last."""
    one = provider("first", "OpenAICompatible", port, 10 + turn, ["model-1"], credentials=[{"name": "main", "secretKeyRef": {"name": "keys", "key": "first"}}])
    one["spec"]["endpoint"]["allowedAddresses"] = ["Loopback"]
    return [one, route("model-1", ("first", "model-1"))]


def wrong(port):
    """What no sidecar takes: a route to a provider that is not there."""
    one, _ = documents(port, 99)
    one["spec"]["provider"] = "NoSuch"
    return [one]


def play(programs, report, short):
    changes = 3 if short else 20
    with Stage("pipeline", programs, report) as stage:
        hub = Hub(stage)
        hub.publish("shop", 1, documents(stage.port, 1))
        pods = ("web-1", "web-2", "web-3")
        sidecars = {pod: Streaming(stage, hub, pod, documents(stage.port, 1)) for pod in pods}
        # Its token is one that the apiserver does not confirm; what is mounted serves it all the same.
        Streaming(stage, hub, "stray", documents(stage.port, 1), namespace="stray", claims={"forged": "yes"})
        stage.scraped()
        hub.acknowledged("shop", 1, pods)
        everywhere = lambda figure: dict.fromkeys(pods, figure)
        shop, operator = 'namespace="shop"', 'pod="operator"'

        for sequence in range(2, changes + 2):
            published = hub.publish("shop", sequence, documents(stage.port, sequence))
            hub.acknowledged("shop", sequence, pods)
        newest = changes + 1
        stage.look()
        stage.counts("bowsprit_operator_streams_open", len(pods))
        # What a pod has mounted already is sent too when its stream begins: the operator need not know.
        stage.counts("bowsprit_operator_stream_configs_total", len(pods) * (1 + changes))
        stage.counts("bowsprit_operator_stream_push_seconds_count", len(pods) * changes)
        stage.counts("bowsprit_operator_stream_push_seconds_bucket", len(pods) * changes, more='le="1.0"')
        # The first report of a stream, and one for each change at least.
        stage.counts("bowsprit_operator_stream_reports_total", Within(len(pods) * (1 + changes), 10 * len(pods) * (1 + changes)))
        stage.counts("bowsprit_operator_stream_requests_total", {"accepted": len(pods)}, "result", 'result!="denied"')
        stage.counts("bowsprit_operator_stream_requests_total", {"denied": Within(1, 1000)}, "result", 'result="denied"')
        stage.counts("bowsprit_operator_token_reviews_total", {"authentic": len(pods)}, "result", 'result=~"authentic|error"')
        stage.holds("certificate, seconds left", "bowsprit_operator_webhook_certificate_not_after_seconds - time()", {"operator": Within(0.2 * DAY, 400 * DAY)}, "pod")
        stage.counts("bowsprit_config_sequence", everywhere(newest), "pod", shop)
        stage.counts("bowsprit_config_loaded_total", everywhere(1 + changes), "pod", shop)
        stage.counts("bowsprit_config_stream_connected", everywhere(1), "pod", shop)
        stage.counts("bowsprit_config_synced", everywhere(1), "pod", shop)
        stage.holds("revisions in service", f"count by (namespace) (count by (namespace, revision) (bowsprit_config_revision{{{shop}}}))", {"shop": 1}, "namespace")
        # A change is promised to be in service within a second everywhere; both ends have this machine's clock, told in whole seconds or finer.
        stage.holds("from publishing to in service, seconds", f"bowsprit_config_loaded_at_seconds{{{shop}}} - {published:.3f}", everywhere(Within(-1, 2)), "pod")
        stage.holds("age of the configuration, seconds", f"time() - bowsprit_config_loaded_at_seconds{{{shop}}}", everywhere(Within(0, 60)), "pod")
        stage.holds("since the operator was heard, seconds", f"time() - bowsprit_config_stream_heard_at_seconds{{{shop}}}", everywhere(Within(-1, 10)), "pod")
        stage.counts("bowsprit_config_stream_connected", {"stray": 0}, "pod", 'pod="stray"')
        stage.counts("bowsprit_config_stream_ended_total", {"untrusted": Within(1, 1000)}, "ended", 'pod="stray"')
        stage.counts("bowsprit_config_sequence", {"stray": 1}, "pod", 'pod="stray"')

        # One that no sidecar takes: the last good one stays, and both ends say so.
        hub.publish("shop", newest + 1, wrong(stage.port))
        until("it is refused by all", lambda: all((hub.say(reports="shop")[pod].get("refused") or {}).get("sequence") == newest + 1 for pod in pods))
        stage.look()
        stage.counts("bowsprit_config_rejected_total", everywhere(1), "pod", shop)
        stage.counts("bowsprit_config_synced", everywhere(0), "pod", shop)
        stage.counts("bowsprit_config_sequence", everywhere(newest), "pod", shop)

        hub.publish("shop", newest + 2, documents(stage.port, 0))
        hub.acknowledged("shop", newest + 2, pods)
        # The mounted folder is ahead of the stream in one pod, and then goes back behind itself.
        ahead = newest + 3
        sidecars["web-1"].mount(documents(stage.port, 50), ahead)
        until("what is mounted is in service", lambda: sidecars["web-1"].metric("bowsprit_config_sequence") == ahead)
        sidecars["web-1"].mount(documents(stage.port, 51), newest)
        until("the older one is seen", lambda: sidecars["web-1"].metric("bowsprit_config_ignored_total") == 1)
        stage.look()
        stage.counts("bowsprit_config_sequence", everywhere(newest + 2) | {"web-1": ahead}, "pod", shop)
        stage.counts("bowsprit_config_loaded_total", everywhere(2 + changes) | {"web-1": 3 + changes}, "pod", shop)
        stage.counts("bowsprit_config_ignored_total", {"web-1": 1}, "pod", shop)
        stage.counts("bowsprit_config_synced", everywhere(1) | {"web-1": 0}, "pod", shop)

        # The operator leaves: streams end, what is in service stays.
        hub.say(leave=True)
        until("every stream has ended", lambda: all(one.metric("bowsprit_config_stream_connected") == 0 for one in sidecars.values()))
        stage.look(but=("operator",))
        stage.counts("bowsprit_config_stream_connected", everywhere(0), "pod", shop)
        stage.counts("bowsprit_config_stream_ended_total", everywhere(1), "pod", f'{shop}, ended="closed"')
        stage.counts("bowsprit_config_sequence", everywhere(newest + 2) | {"web-1": ahead}, "pod", shop)
