"""Many requests at a time against limits and queues: who is under way, who waits and for how long, who is refused."""

import concurrent.futures
import contextlib
import time

from proof.rig import call

from .calls import HELLO, hanging
from .stage import Stage, Within, provider, route, until

ABOUT = "gauges of what is under way, waits, and refusals of every limit under parallel requests"

USAGE = {"input": 10, "output": 1}
ANSWER = {"answer": {"text": "one", "usage": USAGE}}
MAX_IN_FLIGHT = 4


def documents(port):
    like = lambda name, models=None, **limits: provider(name, "OpenAICompatible", port, 10, models or [f"{name}-1"], retry={"maxAttempts": 1}, **({"rateLimits": limits} if limits else {}))
    return [
        like("queue", concurrentRequests=2, onLimit="Wait", maxWait="50s"),
        like("refuse", concurrentRequests=2, onLimit="Reject"),
        like("brief", concurrentRequests=1, onLimit="Wait", maxWait="300ms"),
        like("over", concurrentRequests=1, onLimit="Fallback"),
        like("room"),
        # A minute's bucket holds a tenth of it, and one at least: one request now, the next in a minute.
        like("minute", requestsPerMinute=1, onLimit="Reject"),
        # The first may leave a debt, which those after it would wait out: a quarter of an hour here.
        like("spent", tokensPerMinute=600, onLimit="Reject"),
        route("over-1", ("over", "over-1"), ("room", "room-1")),
        *(route(f"{name}-1", (name, f"{name}-1")) for name in ("queue", "refuse", "brief", "room", "minute", "spent")),
    ]


def asked(sidecar, model):
    return call(sidecar.port, "/v1/chat/completions", {"model": model, "messages": HELLO})[0]


@contextlib.contextmanager
def together(sidecar, model, count):
    """So many requests at a time; gives a function that waits for their statuses."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        asks = [pool.submit(asked, sidecar, model) for _ in range(count)]
        yield lambda: sorted(one.result() for one in asks)


def expect(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: {got}, where the script makes it {want}")


def queued(stage, sidecar, waiting):
    """Two hold the two places, and the rest wait until they leave; what they wait is known to this script from both sides."""
    stage.script(steps=[("queue-1", 2, "hang")])
    limited = lambda: sidecar.metric("bowsprit_rate_limited_total")
    with contextlib.ExitStack() as leave:
        leave.enter_context(hanging(sidecar, "queue-1", 2))
        until("both places are taken", lambda: sidecar.metric("bowsprit_provider_in_flight") == 2)
        first = time.monotonic()
        with together(sidecar, "queue-1", waiting) as statuses:
            until("the others wait", lambda: limited() == waiting)
            all_wait = time.monotonic()
            stage.look()
            stage.holds("bowsprit_in_flight while they wait", "bowsprit_in_flight", {"web-1": 2 + waiting}, "pod")
            stage.counts("bowsprit_provider_in_flight", {"queue": 2}, "provider")
            stage.counts("bowsprit_rate_limited_total", {"queue concurrent_requests": waiting}, "provider limit")
            least = waiting * (time.monotonic() - all_wait)
            leave.close()
            expect(statuses(), [200] * waiting, "queue-1")
    return least, waiting * (time.monotonic() - first)


def play(programs, report, short):
    waiting, more = (4, 3) if short else (24, 12)
    with Stage("concurrency", programs, report) as stage:
        stage.script({f"{name}-1": ANSWER for name in ("queue", "refuse", "brief", "over", "room", "minute")} | {"spent-1": {"answer": {"text": "one", "usage": {"input": 9000, "output": 1000}}}})
        web = stage.started(documents(stage.port))
        small = stage.started(documents(stage.port), "web-2", BOWSPRIT_MAX_IN_FLIGHT=str(MAX_IN_FLIGHT))
        stage.scraped()

        least, most = queued(stage, web, waiting)
        stage.script(steps=[("refuse-1", 2, "hang"), ("brief-1", 1, "hang"), ("over-1", 1, "hang"), ("room-1", MAX_IN_FLIGHT, "hang")])
        with hanging(web, "refuse-1", 2), hanging(web, "brief-1", 1), hanging(web, "over-1", 1):
            until("all places are taken", lambda: web.metric("bowsprit_provider_in_flight") == 4)
            with together(web, "refuse-1", more) as statuses:
                expect(statuses(), [429] * more, "refuse-1")
            with together(web, "brief-1", more) as statuses:
                expect(statuses(), [429] * more, "brief-1")
            until("these are counted", lambda: web.metric("bowsprit_in_flight") == 4)
            stage.look()
            stage.counts("bowsprit_provider_in_flight", {"refuse": 2, "brief": 1, "over": 1}, "provider", 'pod="web-1"')
        with hanging(small, "room-1", MAX_IN_FLIGHT):
            until("no more may be in flight", lambda: small.metric("bowsprit_provider_in_flight") == MAX_IN_FLIGHT)
            with together(small, "room-1", more) as statuses:
                expect(statuses(), [503] * more, "room-1 beyond what may be in flight")
            stage.look()
            stage.counts("bowsprit_in_flight", {"web-2": MAX_IN_FLIGHT}, "pod")
        stage.script(steps=[("over-1", 1, "hang")])
        with hanging(web, "over-1", 1):
            until("its place is taken", lambda: web.metric("bowsprit_provider_in_flight") == 1)
            with together(web, "over-1", more) as statuses:
                expect(statuses(), [200] * more, "over-1, which goes on to room-1")
        expect([asked(web, "minute-1") for _ in range(5)], [200, 429, 429, 429, 429], "minute-1")
        expect([asked(web, "spent-1") for _ in range(4)], [200, 429, 429, 429], "spent-1")
        stage.ended()

        first = 'pod="web-1"'
        shed = more + more + 4 + 3
        stage.counts("bowsprit_requests_total", {"ok": waiting + more + 1 + 1, "shed RATE_LOCAL_LIMIT": shed, "cancelled": 2 + 2 + 1 + 1 + 1}, "outcome code", first)
        stage.counts("bowsprit_requests_total", {"shed SYS_OVERLOADED": more, "cancelled": MAX_IN_FLIGHT}, "outcome code", 'pod="web-2"')
        stage.counts("bowsprit_rate_limited_total", {"queue concurrent_requests": waiting, "refuse concurrent_requests": more, "brief concurrent_requests": more,
                     "over concurrent_requests": more, "minute requests_per_minute": 4, "spent tokens_per_minute": 3}, "provider limit")
        stage.counts("bowsprit_limit_wait_seconds_total", {"queue": Within(least, most), "brief": Within(0.3 * more, 0.3 * more + 5 * more)}, "provider")
        stage.counts("bowsprit_fallbacks_total", {"over RATE_LOCAL_LIMIT": more}, "provider code")
        stage.counts("bowsprit_attempts_total", {"queue ok": waiting, "queue cancelled": 2, "refuse cancelled": 2, "brief cancelled": 1, "over cancelled": 2, "room ok": more,
                     "minute ok": 1, "spent ok": 1}, "provider code", first)
        # No scrape of the whole suite has seen more than the limits let in.
        stage.holds("most in flight at any scrape", "max by (provider) (max_over_time(bowsprit_provider_in_flight[10m]))",
                    {"queue": 2, "refuse": 2, "brief": 1, "over": 1, "room": MAX_IN_FLIGHT, "minute": 0, "spent": 0}, "provider")
        stage.holds("most in flight in a sidecar that takes four", 'max_over_time(bowsprit_in_flight{pod="web-2"}[10m])', MAX_IN_FLIGHT)
        for family in ("bowsprit_in_flight", "bowsprit_provider_in_flight"):
            stage.counts(family, 0)
        stage.nothing_else(("bowsprit_breaker_transitions_total", "bowsprit_retries_total", "bowsprit_lifecycle_illegal_events_total"))
