"""simulate() and records by column."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import sgl_router
from sgl_router import Load, Policy, RecordError, Trace, read_records, simulate

TRACE = """{"arrival_s":0.0,"input_tokens":1030,"output_tokens":20,"hash_ids":[7,8,9]}
{"arrival_s":1.0,"input_tokens":1040,"output_tokens":30,"hash_ids":[7,8,10]}
{"arrival_s":4.0,"input_tokens":500,"output_tokens":10}
"""


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "trace.jsonl"
    path.write_text(TRACE)
    return path


def test_results_match_command_line():
    flags = "simulate --num-requests 200 --seeds 2 --policy random,marginal_cost:ttft_weight=2,oracle --poll-secs 1"
    command = [sys.executable, "-m", "sgl_router", *flags.split(), "--event", "slow:0:4@1..3", "--json"]
    typed = subprocess.run(command, check=True, capture_output=True, text=True)
    policies = ["random", "marginal_cost:ttft_weight=2", "oracle"]
    found = simulate(Load(200), policies=policies, seeds=2, poll_secs=1, events=["slow:0:4@1..3"])
    assert found.to_dict() == json.loads(typed.stdout)
    assert str(found) == typed.stderr
    assert list(found) == policies and len(found) == 3


def test_measures_have_intervals_and_ratios():
    found = simulate(Load(300), policies=["round_robin", "least_request"], seeds=3)
    first, second = found.values()
    mean = second["e2e_mean_s"]
    assert len(mean.by_seed) == 3 and mean.half_width > 0
    assert mean.mean == pytest.approx(sum(mean.by_seed) / 3)
    assert mean.ratio < 1 == first["e2e_mean_s"].ratio
    assert second["e2e_p50_s"].mean <= second["e2e_p90_s"].mean <= second["e2e_p99_s"].mean
    assert sum(second.share.values()) == pytest.approx(1)
    assert simulate(Load(50), policies="random", seeds=1)["random"]["e2e_mean_s"].half_width is None


def test_notebook_shows_a_table():
    found = simulate(Load(100), policies=["random", "marginal_cost:ttft_weight=2"], seeds=2)
    html = found._repr_html_()
    second = found["marginal_cost:ttft_weight=2"]["e2e_mean_s"]
    assert "<th>random</th><th>marginal_cost:ttft_weight=2</th>" in html
    assert html.count("<tr>") == 1 + len(found["random"])
    assert f"{second.mean:.4g} ± {second.half_width:.2g} <small>({second.ratio:.2f}×)</small>" in html
    assert "<th>random</th>" in found["random"]._repr_html_()

    class First(Policy):
        def select(self, request, workers):
            return 0

    assert "&lt;b&gt;" in simulate(Load(20), policies=[("<b>", First)], seeds=1)._repr_html_()


def test_records_agree_with_measures():
    found = simulate(Load(200), policies=["random", "round_robin"], seeds=2)
    records = found.records
    assert records.rows == 800 and {len(column) for column in records.values()} == {800}
    own = records.where(policy="round_robin", seed=2)
    assert own.rows == 200
    assert found["round_robin"]["e2e_mean_s"].by_seed[1] == pytest.approx(sum(own["e2e"]) / 200)
    for arrived, first, finished, e2e, ttft in zip(*(own[c] for c in ("arrived_at", "first_token_at", "finished_at", "e2e", "ttft"))):
        assert e2e == pytest.approx(finished - arrived) and ttft == pytest.approx(first - arrived)
    assert simulate(Load(50), policies="random", records=False).records is None
    with pytest.raises(KeyError):
        records["no_such_column"]


def test_missing_values_are_none():
    found = simulate(Load(100), "sglang_8b", "random", seeds=1, events=["die:0@3"])
    records = found.records
    lost = records.where(answered=False)
    assert 0 < lost.rows < records.rows
    assert set(lost["finished_at"]) == set(lost["e2e"]) == {None}


def test_pandas_and_arrow_tables():
    pandas = pytest.importorskip("pandas")
    pyarrow = pytest.importorskip("pyarrow")
    found = simulate(Load(100), "sglang_8b", ["random", "round_robin"], seeds=1, events=["die:0@3"])
    frame = found.records.to_pandas()
    assert isinstance(frame, pandas.DataFrame) and len(frame) == 200
    assert frame["e2e"].dtype == "float64" and frame["output_tokens"].dtype == "int64"
    assert frame["e2e"].isna().sum() == (~frame["answered"]).sum() > 0
    table = found.records.to_arrow()
    assert isinstance(table, pyarrow.Table) and table.num_rows == 200
    nothing = found.records.where(answered=False)
    assert nothing.to_pandas()["e2e"].dtype == "float64" and nothing.to_arrow().schema == table.schema
    assert table.schema.field("ttft").type == pyarrow.float64() and table["e2e"].null_count > 0
    measures = found.to_pandas()
    assert set(measures["policy"]) == {"random", "round_robin"} and "e2e_p99_s" in set(measures["measure"])


def test_trace_is_sliced_and_sped_up(trace):
    found = simulate(trace, "sglang_8b", "random", seeds=1)
    assert found.records["arrived_at"] == [0.0, 1.0, 4.0]
    assert simulate(str(trace), "sglang_8b", "random", seeds=1).to_dict() == found.to_dict()
    fast = simulate(Trace(trace, slice="1..3", speed=3), "sglang_8b", "random", seeds=1)
    assert fast.records["arrived_at"] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"fleet": "warp9"}, 'fleet`: unknown profile "warp9"'),
        ({"policies": "rond_robin"}, "did you mean `round_robin`"),
        ({"policies": "marginal_cost:weight=2"}, "`weight` is unknown"),
        ({"policies": []}, "name at least one"),
        ({"policies": ["random", "random"]}, "given twice"),
        ({"events": ["slow:0@1"]}, "`events`: .*slow:SERVER:FACTOR"),
        ({"events": ["die:7@1"]}, "`events`: there is no server 7"),
        ({"load": Load(input_len="many")}, "'many' for `input_len`"),
        ({"load": Load(sessions=3, num_requests=5)}, "`num_requests` cannot be used with `sessions`"),
        ({"load": "/no/such/trace"}, "`trace`: /no/such/trace: No such file"),
        ({"seeds": 0}, "`seeds`"),
        ({"routers": 65}, "65 is not in 1..=64"),
        ({"on_error": "ignore"}, "on_error must be"),
    ],
)
def test_wrong_arguments_are_named(given, said):
    with pytest.raises(ValueError, match=said):
        simulate(**given)


def test_policy_object_is_refused():
    class Own(Policy):
        pass

    with pytest.raises(TypeError, match="give its class"):
        simulate(policies=[Own()])


def test_bad_trace_line_is_named(trace):
    trace.write_text(TRACE + '{"arrival_s":5}\n')
    with pytest.raises(ValueError, match="line 4: missing field `input_tokens`"):
        simulate(trace)


@pytest.mark.parametrize("policy", ["'marginal_cost'", "Own"])
def test_ctrl_c_ends_simulation(policy):
    program = f"""
import sgl_router
class Own(sgl_router.Policy):
    def select(self, request, workers):
        return 0
print("on", flush=True)
try:
    sgl_router.simulate(sgl_router.Load(3_000_000), "sglang_8b*64", {policy}, seeds=1000, records=False)
except KeyboardInterrupt:
    print("interrupted")
"""
    running = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert running.stdout.readline() == "on\n"
    deadline = time.monotonic() + 60
    # A signal before the simulation has begun has the same effect.
    running.send_signal(signal.SIGINT)
    assert running.communicate(timeout=deadline - time.monotonic())[0] in ("interrupted\n", "")
    assert running.returncode in (0, -signal.SIGINT, 1)


def test_other_threads_keep_running():
    counted = []
    stop = threading.Event()

    def count():
        while not stop.is_set():
            counted.append(time.monotonic())

    thread = threading.Thread(target=count)
    thread.start()
    began = time.monotonic()
    simulate(Load(20_000), policies="marginal_cost", seeds=1)
    ended = time.monotonic()
    stop.set()
    thread.join()
    assert sum(began < at < ended for at in counted) > 100


HEADER = (
    "timestamp,worker_url,request_id,throughput_gradient,latency_gradient,score,outstanding_requests,avg_throughput,"
    "avg_latency,window_size,selection_reason,actual_output_tokens,server_latency,queue_time,ttft,decision_time_ms,kind,"
    "stream,note\n"
)
ROWS = (
    "2025-07-31 06:49:11.000,http://w1,a,,,0.5,0,,,0,new_worker,,,,,0.25,decision,true,x\n"
    "2025-07-31 06:49:12.500,http://w1,a,,,,0,40,1.5,,completion_record,60,1.5,0.25,0.5,,completion,,\n"
)


def test_recorded_files_are_columns(tmp_path):
    path = tmp_path / "run.csv"
    path.write_text(HEADER + ROWS)
    records = read_records(path)
    assert (records.kind, records.rows, records.problems) == ("recorder", 2, [])
    assert list(records) == HEADER.strip().split(",")
    assert records["worker_url"] == ["http://w1", "http://w1"]
    assert records["actual_output_tokens"] == [None, 60] and records["score"] == [0.5, None]
    assert records["stream"] == [True, None] and records["note"] == ["x", None]
    assert records.where(kind="completion")["server_latency"] == [1.5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER + ROWS.replace("1.5,0.25", "slow,0.25"), "run.csv, line 3, column 13: server_latency is 'slow'"),
        (HEADER + ROWS + "2025,http\n", "run.csv, line 4, column 3: 2 values where the header has 19"),
        (HEADER + ROWS[:-20], "run.csv, line 3, column .*: the file is cut off here"),
        ("a,b\n1,2\n", "run.csv, line 1, column 1: 'a,b' is not the header"),
        ("", "the file is empty"),
    ],
)
def test_file_problem_names_its_line(tmp_path, text, said):
    path = tmp_path / "run.csv"
    path.write_text(text)
    with pytest.raises(RecordError, match=said):
        read_records(path)


def test_file_problems_can_be_skipped(tmp_path):
    path = tmp_path / "run.csv"
    path.write_text(HEADER + ROWS.replace("1.5,0.25", "slow,0.25") + "2025,http\n")
    records = read_records(path, on_error="skip")
    assert records["server_latency"] == [None, None] and records.rows == 2
    assert len(records.problems) == 2


def test_invalid_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_records(tmp_path / "none.csv")
    with pytest.raises(IsADirectoryError):
        read_records(tmp_path)
    with pytest.raises(ValueError, match="on_error"):
        read_records(tmp_path, on_error="maybe")


def test_import_is_light():
    program = "import sys, sgl_router; print([m for m in ('numpy', 'pandas', 'pyarrow', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=os.environ)
    assert done.stdout == "[]\n"
