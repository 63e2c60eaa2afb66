"""Python policies in a running router."""

import re
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
import sgl_router
from conftest import TIMEOUT, ask, generate, started
from sgl_router import Policy, Router

QUIET = {"host": "127.0.0.1", "port": 0, "log_level": "error"}


def wait_until(true):
    """Wait until the condition holds."""
    deadline = time.monotonic() + TIMEOUT
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def reasons(router, count, **more):
    """The reasons and the workers of the decisions on so many requests."""
    decisions = router.decisions()
    for _ in range(count):
        assert generate(router.url, **more) == 200
    made = [next(decisions) for _ in range(count)]
    return [d.selection_reason for d in made], [d.worker_url for d in made]


@pytest.fixture
def serve(workers):
    """Start routers in front of two workers, with a policy that is registered for them."""
    routers = []

    def serve(factory, **options):
        sgl_router.register_policy(factory, "under_test")
        routers.append(started(Router(workers, policy="under_test", **{**QUIET, **options})))
        return routers[-1]

    yield serve
    for router in routers:
        router.stop()


def test_choice_is_used_with_its_reason(serve, workers):
    class Second(Policy):
        def select(self, request, workers):
            return 1

    router = serve(Second)
    assert reasons(router, 5) == (["custom"] * 5, [workers[1]] * 5)
    assert router.stats().policy == "under_test"
    assert sgl_router.policy_stats("under_test").decisions == 5


def test_costs_are_recorded(serve, workers):
    class Costs(Policy):
        def select(self, request, workers):
            return 0, [1.5, 2.5]

    router = serve(Costs)
    decisions = router.decisions()
    assert generate(router.url) == 200
    decision = next(decisions)
    assert (decision.selection_reason, decision.worker_url, decision.cost) == ("lowest_cost", workers[0], 1.5)


def test_policy_sees_request_and_workers(serve, workers):
    seen = []

    class Looking(Policy):
        needs = ("text", "routing_key", "prefix_hashes")

        def select(self, request, workers):
            seen.append((request.text, request.routing_key, request.route, [w.url for w in workers]))
            return 0

    router = serve(Looking, routing_key_headers=["x-session"])
    assert generate(router.url, headers={"x-session": "me"}) == 200
    text, key, route, urls = seen[-1]
    assert (text, route, urls) == ("a b c", "/generate", workers) and isinstance(key, int)


def test_events_come_before_next_decision(serve, workers):
    heard = []

    class Listening(Policy):
        def select(self, request, workers):
            heard.append("select")
            return 1

        def observe(self, event):
            heard.append((event.kind, event.worker))

    router = serve(Listening)
    assert generate(router.url) == 200
    wait_until(lambda: sum(worker.in_flight for worker in router.stats().workers) == 0)
    assert generate(router.url) == 200
    first, second = (place for place, what in enumerate(heard) if what == "select")
    between = heard[first:second]
    assert ("dispatched", workers[1]) in between and ("finished", workers[1]) in between
    # An event of discovery may come between the two.
    joined = [what for what in heard[:first] if what[0] == "joined"]
    assert joined == [("joined", url) for url in workers]
    wait_until(lambda: heard.count(("finished", workers[1])) == 2)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda workers: 1 / 0,
        lambda workers: 7,
        lambda workers: "me",
        lambda workers: (0, [1.0]),
        lambda workers: setattr(workers[0], "in_flight", -5),
        lambda workers: sys.exit(3),
    ],
)
def test_policy_errors_fail_no_request(serve, wrong, caplog):
    class Wrong(Policy):
        def select(self, request, workers):
            return wrong(workers)

    router = serve(Wrong)
    assert reasons(router, 3)[0] == ["fallback"] * 3
    wait_until(lambda: sgl_router.policy_stats("under_test").errors == 3)
    logged = [record.getMessage() for record in caplog.records if record.name == "sgl_router.policy"]
    assert len(logged) == 1 and "Traceback" in logged[0], "once, with its traceback"
    assert "Traceback" in sgl_router.policy_stats("under_test").last_error
    metrics = urllib.request.urlopen(router.url + "/metrics", timeout=TIMEOUT).read().decode()
    assert 'policy_figure{policy="under_test",figure="python_errors"} ' in metrics


def test_blocking_policy_is_waited_for_once(serve, caplog):
    release = threading.Event()
    asked = []

    class Blocking(Policy):
        def select(self, request, workers):
            asked.append(request.id)
            release.wait(TIMEOUT)
            return 0

    router = serve(Blocking)
    try:
        assert reasons(router, 20)[0] == ["fallback"] * 20
        stats = sgl_router.policy_stats("under_test")
        assert (stats.late, stats.busy, len(asked)) == (1, 19, 1)
    finally:
        release.set()
    # The log has the time from the question, which is at least the time limit.
    wait_until(lambda: any("too late" in record.getMessage() for record in caplog.records))
    (late,) = [record.getMessage() for record in caplog.records if "too late" in record.getMessage()]
    assert float(re.search(r"policy under_test chose ([0-9.]+) ms after it was asked", late)[1]) > 40
    # Once it is back it is asked again, and a late choice is not taken for a new one.
    wait_until(lambda: reasons(router, 1)[0] == ["custom"])


def test_blocking_observe_delays_nothing(serve):
    release = threading.Event()

    class Blocking(Policy):
        def select(self, request, workers):
            return 0

        def observe(self, event):
            release.wait(TIMEOUT)

    router = serve(Blocking)
    try:
        assert reasons(router, 10)[0] == ["fallback"] * 10
    finally:
        release.set()
    wait_until(lambda: reasons(router, 1)[0] == ["custom"])


def test_policy_options_are_passed(serve, workers):
    class Place(Policy):
        def __init__(self, place: int = 0):
            self.place = place

        def select(self, request, workers):
            return self.place

    assert reasons(serve(Place, policy_options={"place": 1}), 2)[1] == [workers[1]] * 2
    with pytest.raises(ValueError, match="unknown knob `plaec`"):
        Router(workers, policy="under_test", policy_options={"plaec": 1}, **QUIET).start()


def test_unknown_name_suggests_a_near_one(serve, workers):
    serve(type("Any", (Policy,), {"select": lambda self, request, workers: 0}))
    with pytest.raises(ValueError, match="unknown policy `under_tset`, did you mean `under_test`"):
        Router(workers, policy="under_tset", **QUIET).start()


def test_policy_can_be_a_shadow(workers):
    asked = []

    @sgl_router.register_policy
    class OnlyWatching(Policy):
        def select(self, request, workers):
            asked.append(request.id)
            return 1

    with Router(workers, policy="round_robin", shadow_policies=["only_watching"], **QUIET) as router:
        started(router)
        assert [generate(router.url) for _ in range(4)] == [200] * 4
    assert len(asked) == 4


def test_thread_ends_with_router(serve):
    def names():
        return [thread.name for thread in threading.enumerate() if "under_test" in thread.name]

    class Any(Policy):
        def select(self, request, workers):
            return 0

    before = len(names())
    router = serve(Any)
    assert generate(router.url) == 200 and len(names()) == before + 1
    router.stop()
    wait_until(lambda: len(names()) == before)


def test_single_worker_needs_no_decision(workers):
    @sgl_router.register_policy
    class NeverAsked(Policy):
        def select(self, request, workers):
            raise AssertionError("asked")

    with Router(workers[:1], policy="never_asked", **QUIET) as router:
        started(router)
        assert reasons(router, 2)[0] == ["only_candidate"] * 2
    assert sgl_router.policy_stats("never_asked").errors == 0


@pytest.mark.parametrize("end", ["router.stop()", "pass", "del router", "import os, signal; os.kill(os.getpid(), signal.SIGINT)"])
def test_process_exits_while_policy_sleeps(workers, end):
    program = f"""
import sys, threading, time, urllib.request
sys.path.insert(0, {str(sys.path[0])!r})
import sgl_router
from conftest import generate, started
begun = threading.Event()
@sgl_router.register_policy
class Sleeping(sgl_router.Policy):
    def select(self, request, workers):
        begun.set()
        time.sleep(600)
router = started(sgl_router.Router({workers!r}, policy="sleeping", host="127.0.0.1", port=0, log_level="error"))
assert generate(router.url) == 200
assert begun.is_set()
print("begun", flush=True)
{end}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT)
    assert done.stdout == "begun\n", done.stderr
    wanted = -2 if "SIGINT" in end else 0
    assert done.returncode == wanted, done.stderr
    assert "Fatal" not in done.stderr and "panicked" not in done.stderr


def test_cost_can_be_measured():
    @sgl_router.register_policy
    class Cheap(Policy):
        def select(self, request, workers):
            return len(workers) - 1

    cost = sgl_router.measure_policy("cheap", workers=4, decisions=500)
    assert 0 < cost.p50 <= cost.p99 and cost.mean > 0 and cost.missed < 500
    with pytest.raises(ValueError, match="at least 2"):
        sgl_router.measure_policy("cheap", workers=1)
    with pytest.raises(ValueError, match="unknown policy `chaep`"):
        sgl_router.measure_policy("chaep")


def test_many_clients_at_once(serve):
    class Least(Policy):
        def select(self, request, workers):
            return min(workers, key=lambda worker: worker.in_flight)

        def observe(self, event):
            pass

    router = serve(Least)
    answers = []
    clients = [
        threading.Thread(target=lambda: answers.extend(generate(router.url) for _ in range(20))) for _ in range(8)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert answers == [200] * 160
    stats = sgl_router.policy_stats("under_test")
    assert stats.decisions + stats.late + stats.busy == 160 and stats.errors == 0
    assert ask(router.url, "/readiness")[0] == 200


def test_python_policy_is_not_made_by_the_check():
    made = []

    class Counted(Policy):
        def __init__(self):
            made.append(self)

        def select(self, request, workers):
            return 0

    sgl_router.register_policy(Counted, "counted_once")
    router = Router(["http://127.0.0.1:9"], policy="counted_once", **QUIET)
    assert made == []
    with router:
        assert len(made) == 1
