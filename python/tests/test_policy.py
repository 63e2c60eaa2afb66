"""Python policies in simulations: registration, what they see, and their errors."""

import functools
import logging

import pytest
import sgl_router
from sgl_router import Load, Policy, simulate

SMALL = Load(num_requests=300, request_rate=30)
FLEET = "sglang_8b*3"


def once(policy, **more):
    """The result of one run of one policy."""
    found = simulate(SMALL, FLEET, [policy], seeds=1, records=True, **more)
    (result,) = found.values()
    return result, found.records


class Counting(Policy):
    """Keeps its arguments."""

    def __init__(self):
        self.turn = -1

    def select(self, request, workers):
        self.turn += 1
        return self.turn % len(workers)


def test_choice_is_used():
    _, records = once(Counting)
    assert records["server"] == [f"{turn % 3} sglang_8b" for turn in range(300)]


@pytest.mark.parametrize(
    "answer",
    [
        lambda workers: 1,
        lambda workers: workers[1],
        lambda workers: (1, [3.0, 1.0, 2.0]),
        lambda workers: (workers[1], (3, 1, 2)),
        lambda workers: (1, None),
        lambda workers: pytest.importorskip("numpy").int64(1),
        lambda workers: (1, pytest.importorskip("numpy").ones(3)),
        lambda workers: (1, [float("nan"), float("inf"), -float("inf")]),
    ],
)
def test_every_form_of_choice_is_accepted(answer):
    class Answering(Policy):
        def select(self, request, workers):
            return answer(workers)

    result, records = once(Answering, on_error="raise")
    assert set(records["server"]) == {"1 sglang_8b"}
    assert (result.decisions, result.errors) == (300, 0)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (lambda w: None, TypeError, "returned NoneType"),
        (lambda w: "0", TypeError, "returned str"),
        (lambda w: 1.0, TypeError, "returned float"),
        (lambda w: True, TypeError, "returned bool"),
        (lambda w: 3, IndexError, "returned 3; the workers are 0 to 2"),
        (lambda w: -1, IndexError, "returned -1"),
        (lambda w: 10**30, TypeError, "returned int"),
        (lambda w: (0, [1.0]), ValueError, "1 costs for 3 workers"),
        (lambda w: (0, "abc"), TypeError, "not a list of numbers"),
        (lambda w: (0, 5), TypeError, "not a list of numbers"),
        (lambda w: (0, [0, 0, 0], 1), TypeError, "a tuple of 3"),
        (lambda w: 1 / 0, ZeroDivisionError, "division"),
        (lambda w: setattr(w[0], "in_flight", 0), AttributeError, "not writable"),
        (lambda w: w.__setitem__(0, w[1]), AttributeError, "__setitem__"),
        (lambda w: w[0].no_such_thing, AttributeError, "no_such_thing"),
    ],
)
def test_invalid_choice_is_error_or_least_load(answer, error, said, caplog):
    class Mistaken(Policy):
        def select(self, request, workers):
            return answer(workers)

    with pytest.raises(error, match=said):
        once(Mistaken, on_error="raise")
    sgl_router.register_policy(Mistaken)
    result, records = once("mistaken")
    assert (result.errors, result.decisions) == (300, 0)
    assert all(records["answered"]), "no request fails"
    assert min(records["server"].count(server) for server in set(records["server"])) > 50
    logged = [r.getMessage() for r in caplog.records if r.name == "sgl_router.policy"]
    assert len(logged) == 1, "once, however often it happens"
    assert "policy mistaken failed in select()" in logged[0] and said.split()[-1] in logged[0]


def test_error_is_logged_with_traceback(caplog):
    class Raising(Policy):
        def select(self, request, workers):
            return self.deeper()

        def deeper(self):
            raise LookupError("nowhere")

    once(Raising)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "in deeper" in record.getMessage() and "LookupError: nowhere" in record.getMessage()


def test_error_in_observe_is_counted(caplog):
    class Forgetful(Policy):
        def select(self, request, workers):
            return 2

        def observe(self, event):
            raise KeyError(event.kind)

    result, records = once(Forgetful)
    assert set(records["server"]) == {"2 sglang_8b"}
    assert result.errors > 300 and len(caplog.records) == 1


def test_exit_and_ctrl_c_end_simulation():
    for error in (SystemExit, KeyboardInterrupt):

        class Leaving(Policy):
            def select(self, request, workers):
                raise error

        with pytest.raises(error):
            once(Leaving)


def test_unknown_view_attributes_are_none():
    seen = []

    class Looking(Policy):
        def select(self, request, workers):
            seen.append((request, workers))
            return 0

    once(Looking)
    request, workers = seen[0]
    assert (request.id, request.attempt, request.stream, request.batch) == (0, 0, True, 1)
    assert request.route == "/v1/chat/completions" and request.prompt_bytes > 0
    assert request.prompt_tokens is None and request.max_output_tokens is None and request.routing_key is None
    assert [w.url for w in workers] == [f"http://server-{i}" for i in range(3)]
    assert [(w.index, w.in_flight, w.weight, w.priority, w.next_load) for w in workers] == [
        (i, 0, 1.0, 50, 1.0) for i in range(3)
    ]
    unknown = ("queue_length", "running", "kv_usage", "throughput", "report_age", "latency", "ttft")
    assert all(getattr(w, name) is None for w in workers for name in unknown)
    last = seen[-1][1][0]
    assert last.queue_length is not None and last.latency > last.ttft > 0 and last.report_age >= 0
    assert "http://server-0" in repr(last) and "id=0" in repr(request)


def test_unrequested_attributes_raise():
    class Texts(Policy):
        def select(self, request, workers):
            return len(request.prefix) * 0

    with pytest.raises(AttributeError, match='"prefix_hashes" in their `needs`'):
        once(Texts, on_error="raise")

    class Prefixes(Texts):
        needs = ("prefix_hashes", "text", "script", "routing_key")

        def select(self, request, workers):
            assert request.text is None and request.script is None and request.prefix_block_bytes > 0
            prefixes.append(request.prefix)
            return 0

    prefixes = []
    load = Load(num_requests=50, prefix_groups=1)
    simulate(load, FLEET, Prefixes, seeds=1, on_error="raise")
    assert len({prefix[0] for prefix in prefixes}) == 1, "all begin alike"


def test_events_come_in_order():
    events = []

    class Listening(Policy):
        needs = ("progress",)

        def select(self, request, workers):
            return 0

        def observe(self, event):
            events.append(event)

    simulate(Load(num_requests=100), FLEET, Listening, seeds=1, events=["die:2@1", "join:t4@2"], poll_secs=1)
    kinds = [event.kind for event in events]
    assert kinds[:3] == ["joined"] * 3
    assert {"dispatched", "first_token", "progress", "finished", "load", "left"} <= set(kinds)
    assert all(e.events > 0 and e.request is not None for e in events if e.kind == "progress")
    assert [e.worker for e in events if e.kind == "left"] == ["http://server-2"]
    assert kinds.count("dispatched") == kinds.count("finished") >= 100
    finished = next(e for e in events if e.kind == "finished")
    assert finished.outcome == "success" and finished.status == 200
    assert finished.latency >= finished.ttft > 0 and finished.output_tokens > 0
    assert [e.time for e in events] == sorted(e.time for e in events)


def test_random_follows_from_seed():
    class Drawing(Policy):
        def select(self, request, workers):
            assert 0 <= request.random() < 1
            return request.randrange(len(workers))

    def servers(seed):
        return simulate(SMALL, FLEET, Drawing, seeds=1, seed=seed, on_error="raise").records["server"]

    assert servers(1) == servers(1) != servers(2)
    assert len(set(servers(1))) == 3


def test_registered_policies_take_options():
    @sgl_router.register_policy
    class FixedPlace(Policy):
        """Always the same index."""

        def __init__(self, place: int = 0):
            self.place = place

        def select(self, request, workers):
            return self.place

    found = simulate(SMALL, FLEET, ["fixed_place", "fixed_place:place=2"], seeds=1)
    assert [set(found.records.where(policy=name)["server"]) for name in found] == [{"0 sglang_8b"}, {"2 sglang_8b"}]
    with pytest.raises(ValueError, match="fixed_place.*unknown knob `plaec`, expected place"):
        simulate(SMALL, FLEET, "fixed_place:plaec=2")
    with pytest.raises(ValueError, match="did you mean `fixed_place`"):
        simulate(SMALL, FLEET, "fixed_plase")


def test_functions_and_partials_make_policies():
    @sgl_router.register_policy(name="made")
    def make(place=1):
        return Placed(place)

    class Placed:
        def __init__(self, place):
            self.place = place

        def select(self, request, workers):
            return self.place

    found = simulate(SMALL, FLEET, ["made", ("two", functools.partial(Placed, 2)), functools.partial(Placed, 0)], seeds=1)
    assert list(found) == ["made", "two", "placed"]
    servers = [set(found.records.where(policy=name)["server"]) for name in found]
    assert servers == [{"1 sglang_8b"}, {"2 sglang_8b"}, {"0 sglang_8b"}]


def test_last_registration_wins():
    for place in (0, 1):

        class Replaced(Policy):
            at = place

            def select(self, request, workers):
                return self.at

        sgl_router.register_policy(Replaced)
    _, records = once("replaced")
    assert set(records["server"]) == {"1 sglang_8b"}


@pytest.mark.parametrize(
    ("factory", "name", "error", "said"),
    [
        (Counting, "random", ValueError, "`random` is already registered"),
        (Counting, "Not A Name", ValueError, "lower-case letters"),
        (object, None, TypeError, "not a policy"),
        (3, None, TypeError, "not a policy"),
        (lambda: Counting(), None, ValueError, "no name for a policy"),
    ],
)
def test_invalid_registration_says_why(factory, name, error, said):
    with pytest.raises(error, match=said):
        sgl_router.register_policy(factory, name)


def test_policy_that_cannot_be_made_is_refused():
    class Broken(Policy):
        def __init__(self):
            raise OSError("no model file")

    class Vague(Counting):
        needs = ("everything",)

    class Patient(Counting):
        timeout_secs = 60

    for factory, said in [
        (Broken, "OSError: no model file"),
        (Vague, "unknown need `everything`"),
        (Patient, "timeout_secs must be above 0 and at most 10"),
        (lambda: 3, "has no select"),
    ]:
        with pytest.raises(ValueError, match=said):
            simulate(SMALL, FLEET, ("broken", factory))


def test_stats_of_an_unknown_policy():
    with pytest.raises(KeyError, match="unknown"):
        sgl_router.policy_stats("unknown")
