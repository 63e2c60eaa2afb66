"""Router: usage and errors."""

import gc
import http.client
import os
import re
import socket
import threading
import time

import pytest
import sgl_router
from conftest import TIMEOUT, ask, generate, started
from sgl_router import Config, PolicyType, Router

QUIET = {"host": "127.0.0.1", "port": 0, "log_level": "error"}


def threads():
    """The number of threads of this process, with those outside Python."""
    return len(os.listdir("/proc/self/task"))


def wait_until_gone(before):
    """Wait until there are no more threads than before: an ended thread is listed for a moment longer."""
    deadline = time.monotonic() + TIMEOUT
    while threads() > before:
        assert time.monotonic() < deadline, f"{threads()} threads, {before} before"
        time.sleep(0.01)


def test_router_responds_and_counts(workers):
    with Router(worker_urls=workers, policy=PolicyType.RoundRobin, **QUIET) as router:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", router.url)
        assert router.running
        started(router)
        for _ in range(4):
            assert generate(router.url) == 200
        stats = router.stats()
        assert (stats.policy, stats.requests, stats.queued) == ("round_robin", 4, 0)
        assert [w.url for w in stats.workers] == workers
        assert [w.requests for w in stats.workers] == [2, 2]
        assert all(w.state == "healthy" and w.breaker == "closed" for w in stats.workers)
        assert all(0 < w.mean_latency < TIMEOUT for w in stats.workers)
    assert not router.running


def test_latency_is_unknown_before_first_response():
    with Router(worker_urls=["http://127.0.0.1:9"], **QUIET) as router:
        (worker,) = router.stats().workers
        assert worker.mean_latency is None and worker.queue_length is None and worker.requests == 0


@pytest.mark.parametrize("policy", [str(each) for each in PolicyType])
def test_every_policy_routes(workers, policy, tmp_path):
    options = {"record_dir": tmp_path} if policy == "marginal_utility_recorder" else {}
    if policy == "fixed_probability":
        options["fixed_probabilities"] = {url: 1 / len(workers) for url in workers}
    with Router(worker_urls=workers, policy=policy, **options, **QUIET) as router:
        router.wait_until_ready()
        assert generate(router.url) == 200
        assert router.stats().policy == policy


def test_several_routers_leave_no_thread(workers):
    # Threads that the first use leaves in the process are not counted.
    Router(workers, **QUIET).start().stop()
    before, of_python = threads(), threading.active_count()
    routers = [Router(workers, **QUIET).start() for _ in range(3)]
    assert len({router.url for router in routers}) == 3
    listeners = [router.decisions() for router in routers]
    assert [generate(started(router).url) for router in routers] == [200] * 3
    for router in routers:
        router.stop()
    assert [len(list(each)) for each in listeners] == [1] * 3
    assert threading.active_count() == of_python
    wait_until_gone(before)


def test_dropped_router_stops(workers):
    before = threads()
    url = Router(workers, **QUIET).start().url
    gc.collect()
    with pytest.raises(OSError):
        generate(url)
    # The threads of a dropped router end in the background.
    wait_until_gone(before)


def test_stop_is_idempotent_across_threads(workers):
    router = Router(workers, **QUIET)
    assert router.stop() == 0, "it never ran"
    router.start()
    stoppers = [threading.Thread(target=router.stop) for _ in range(4)]
    for each in stoppers:
        each.start()
    for each in stoppers:
        each.join(TIMEOUT)
    assert not router.running
    assert router.stop() == 0


def test_stopped_router_starts_again(workers):
    router = Router(workers, **QUIET)
    for _ in range(2):
        with router:
            router.wait_until_ready()
            assert generate(router.url) == 200


def test_wait_returns_on_stop(workers):
    router = Router(workers, **QUIET).start()
    waiting = threading.Thread(target=router.wait)
    waiting.start()
    router.stop()
    waiting.join(TIMEOUT)
    assert not waiting.is_alive()


def test_stop_drains_then_aborts(workers):
    with Router(workers, shutdown_grace_period_secs=0, **QUIET) as router:
        decisions = router.wait_until_ready().decisions()
        answers = []
        long = {"max_new_tokens": 20_000, "ignore_eos": True}

        def ask_long():
            try:
                answers.append(ask(router.url, text="a", sampling_params=long)[0])
            except (OSError, http.client.HTTPException) as error:
                answers.append(error)

        client = threading.Thread(target=ask_long)
        client.start()
        next(decisions)
        assert router.stop() == 1
        client.join(TIMEOUT)
    assert answers[0] != 200


def test_decisions_are_streamed(workers):
    options = {"shadow_policies": ["random"], **QUIET}
    with Router(workers, policy="least_request", **options) as router:
        decisions, narrow = started(router).decisions(), router.decisions(capacity=1)
        for n in range(3):
            assert ask(router.url, headers={"x-request-id": f"r{n}"}, text="a b")[0] == 200
        first = next(decisions)
        assert first.request_id == "r0"
        assert first.worker_url in workers and first.policy == "least_request" and first.route == "/generate"
        assert first.candidates == 2 and first.outstanding_requests == 0 and first.attempt == 0
        assert first.terms and set(first.shadow_choices) == {"random"}
        assert first.time > 1.7e9 and 0 <= first.decision_time_ms < 1000 * TIMEOUT
        assert (decisions.dropped, narrow.dropped) == (0, 2)
        router.stop()
        assert [record.request_id for record in decisions] == ["r1", "r2"]
        assert [record.request_id for record in narrow] == ["r0"]
        assert list(decisions) == []


def test_early_request_waits_for_worker(workers):
    with Router(workers, queue_when_unavailable=True, **QUIET) as router:
        assert generate(router.url) == 200


def test_wait_until_ready_times_out():
    with Router(["http://127.0.0.1:9"], **QUIET) as router:
        deadline = time.monotonic() + TIMEOUT
        while router.stats().workers[0].last_error is None:
            assert time.monotonic() < deadline, router.stats()
            time.sleep(0.002)
        cause = r"no worker was ready after 0.01 s: http://127.0.0.1:9 is \w+ \(.*refused.*\)$"
        with pytest.raises(TimeoutError, match=cause):
            router.wait_until_ready(timeout=0.01)
        with pytest.raises(ValueError, match="timeout"):
            router.wait_until_ready(timeout=-1)


def test_wait_without_workers_says_so():
    with Router(start_empty=True, **QUIET) as router, pytest.raises(TimeoutError, match="the router has no workers"):
        router.wait_until_ready(timeout=0.01)


def test_stopped_router_raises(workers):
    router = Router(workers, **QUIET)
    for use in (lambda: router.url, router.stats, router.decisions):
        with pytest.raises(RuntimeError, match=r"call start\(\)"):
            use()
    with router, pytest.raises(RuntimeError, match="runs already"):
        router.start()


def test_port_in_use_is_os_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        router = Router(["http://127.0.0.1:9"], port=port, log_level="error")
        before = threads()
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            router.start()
        wait_until_gone(before)


REFUSED = [
    ({"policy": "marginal_utilty"}, "--policy: unknown policy `marginal_utilty`, did you mean `marginal_utility`?"),
    ({"worker_urls": ["ftp://a"]}, "--worker-urls: worker URL 'ftp://a': the scheme must be http, https, grpc or grpcs"),
    ({"worker_urls": ["http://a", "http://a"]}, "--worker-urls: worker 'http://a' is given twice"),
    ({"policy_options": {"no_such_knob": 1}}, "no_such_knob"),
    ({"tls_cert_path": "nowhere.pem"}, "--tls-key-path: is required with --tls-cert-path"),
    ({"host": "no such host"}, "--host: 'no such host' is not an address of this machine"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_refusal_matches_command_line(options, message):
    options = {"worker_urls": ["http://127.0.0.1:9"], **options}
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        Router(**{**QUIET, **options})
    assert "\n" not in str(caught.value)


def test_start_needs_a_worker():
    router = Router(**QUIET)
    with pytest.raises(ValueError, match="--worker-urls: no worker is given"):
        router.start()


KEYWORDS = [
    ({"polcy": "random"}, TypeError, "unknown option `polcy`, did you mean `policy`?"),
    ({"nothing_like_it": 1}, TypeError, "unknown option `nothing_like_it`"),
    ({"config": 3}, TypeError, "config: must be a Config or a list of URLs, not int"),
]


@pytest.mark.parametrize(("options", "error", "message"), KEYWORDS)
def test_wrong_keyword_is_type_error(options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Router(**options)


def test_names_of_other_packages_work():
    router = Router(
        enable_request_tracking=True,
        trace_ttl_seconds=5,
        marginal_utility_output_dir="out",
        policy="fixed_probability",
        fixed_probabilities={"http://d": 1.0},
        pd_disaggregation=True,
        prefill_policy="consistent_hash",
        prefill_urls=[("http://p", 9000), ("http://q", None)],
        decode_urls=["http://d"],
    )
    assert router.config == Config(
        enable_tracking=True,
        trace_ttl=5,
        record_dir="out",
        policy="fixed_probability",
        policy_options={"probabilities": {"http://d": 1.0}},
        pd_disaggregation=True,
        prefill_policy="consistent_hashing",
        prefill=["http://p", "9000", "http://q", "none"],
        decode=["http://d"],
    )


@pytest.mark.parametrize("nothing", [{}, [], (), None, False])
def test_unset_option_of_others_is_accepted(nothing):
    assert Router(["http://a"], selector=nothing, service_discovery=False).config == Config(worker_urls=["http://a"])
    with pytest.raises(ValueError, match="--selector: needs --service-discovery"):
        Router(["http://a"], selector={"app": "worker"})
    found = Router(selector={"app": "worker", "tier": "gpu"}, service_discovery=True).config
    assert (found.service_discovery, found.selector) == (True, ["app=worker", "tier=gpu"])
    with pytest.raises(TypeError, match="unknown option `selectr`"):
        Router(["http://a"], selectr=nothing)


def test_warning_names_the_callers_line():
    with pytest.warns(UserWarning, match="--model-path changes nothing") as told:
        Router(["http://a"], model_path="m")
        Config.from_args(["--model-path", "m"])
    assert [note.filename for note in told] == [__file__] * 2


def test_options_override_config():
    base = Config(worker_urls=["http://a"], port=1)
    assert Router(base, port=2).config == Config(worker_urls=["http://a"], port=2)
    assert base.port == 1


def test_version_matches_package():
    import importlib.metadata

    assert sgl_router.__version__ == importlib.metadata.version("sgl-router")


SCRIPTS = {
    "falls off its end": "",
    "is ended by sys.exit": "import sys; sys.exit(0)",
}


@pytest.mark.parametrize("ending", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_program_exits_with_running_router(program, workers, ending):
    script = f"import sgl_router; r = sgl_router.Router({workers}, port=0).start(); print(r.url); {ending}"
    assert program("-c", script).end()[0] == 0


def test_ctrl_c_interrupts_wait(program, workers):
    script = f"""
import sgl_router
with sgl_router.Router({workers}, port=0) as router:
    try:
        print("ready")
        router.wait()
    except KeyboardInterrupt:
        print("interrupted", router.running)
print("stopped", router.running)
"""
    running = program("-c", script)
    running.line_with("ready")
    running.process.send_signal(2)
    code, output = running.end()
    assert code == 0
    assert "interrupted True" in output and "stopped False" in output


def test_ctrl_c_interrupts_decisions(program, workers):
    script = f"""
import sgl_router
with sgl_router.Router({workers}, port=0) as router:
    print("ready")
    for decision in router.decisions():
        pass
"""
    running = program("-c", script)
    running.line_with("ready")
    running.process.send_signal(2)
    code, output = running.end()
    assert code != 0 and "KeyboardInterrupt" in output


def test_workers_come_and_go_at_run_time(workers):
    with Router(worker_urls=workers[:1], **QUIET) as router:
        started(router)
        added = router.add_worker(workers[1], weight=2.0, labels={"rack": "b"})
        assert [each["url"] for each in router.workers()] == workers[:2]
        (new,) = [each for each in router.workers() if each["id"] == added]
        assert (new["weight"], new["labels"]) == (2.0, {"rack": "b"})
        with pytest.raises(ValueError, match="in the fleet already"):
            router.add_worker(workers[1])
        with pytest.raises(ValueError, match="own address"):
            router.add_worker(router.url)
        with pytest.raises(TypeError, match="did you mean 'weight'"):
            router.add_worker("http://127.0.0.1:9", wieght=2)
        router.drain_worker(added, timeout=TIMEOUT)
        assert [each["url"] for each in router.workers()] == workers[:1]
        with pytest.raises(KeyError, match=re.escape(workers[1])):
            router.remove_worker(workers[1])


def test_request_is_explained_in_words(workers):
    with Router(worker_urls=workers[:1], enable_tracking=True, **QUIET) as router:
        started(router)
        place = http.client.HTTPConnection(router.url.removeprefix("http://"), timeout=TIMEOUT)
        body = '{"text": "a", "sampling_params": {"max_new_tokens": 2}}'
        place.request("POST", "/generate", body, {"x-request-id": "mine"})
        assert place.getresponse().read()
        words = router.explain("mine")
        assert "Request mine: /generate" in words and workers[0] in words and "only candidate" in words
        with pytest.raises(KeyError, match="no trace"):
            router.explain("other")
    with Router(worker_urls=workers[:1], **QUIET) as router, pytest.raises(RuntimeError, match="enable_tracking"):
        router.explain("mine")
