"""The report's page in a real browser: every chart draws, without console messages and without requests.

The binary is the one that SGL_ROUTER_BIN names, the browser the machine's own Chromium.
"""

import math
import random
import subprocess

import pytest
from browsing import BINARY, SCREENS, assert_drawn, inked, opened, until

WORKERS = [f"http://10.0.0.{n}:30000" for n in (1, 2, 3)]
COMMON = ["latency", "ttft", "tpot", "requests", "tokens", "in-flight", "waiting", "failures"]
PER_WORKER = ["share", "worker-latency", "worker-in-flight", "worker-waiting"]
DECISIONS = ["decisions", "score", "throughput-gradient", "latency-gradient"]
FORECASTS = ["calibration"]

CLIENT = (
    "req_id,success,error,host,actual_output_tokens,arrival_time,queue_time_start,queue_time_end,finish_time,"
    "total_latency,ttft"
)
RECORDER = (
    "timestamp,worker_url,request_id,throughput_gradient,latency_gradient,score,outstanding_requests,avg_throughput,"
    "avg_latency,window_size,selection_reason,actual_output_tokens,server_latency,queue_time,ttft,decision_time_ms,"
    "kind,seq,attempt,outcome,finish_time,cached_tokens,forecast_class,forecast_output_tokens,forecast_rank,"
    "predicted_cached_tokens"
)


def client_rows(seed, slowness):
    """400 requests over about 20 s; every fiftieth fails."""
    chance = random.Random(seed)
    for n in range(400):
        at = n / 20
        latency = slowness * (0.5 + chance.random())
        row = f"{at},{at + 0.001},{at + 0.02},{at + latency},{latency},{latency / 4}"
        if n % 50 == 7:
            yield f"r{n},False,timeout,,,{at},,,{at + 9},9,"
        else:
            yield f"r{n},True,,{WORKERS[n % 3]},{50 + n % 60},{row}"


def recorder_rows():
    """200 decisions, the first thirty by load, and their completions."""
    for n in range(200):
        at, worker = n / 10, WORKERS[n % 3]
        stamp = f"2025-07-31 06:49:{11 + int(at):02}.{n % 10}00"
        if n < 30:
            knew = f",,-{n % 4},{n % 4},,,{n // 3},load_based"
        else:
            gradient = math.sin(n / 9 + n % 3)
            knew = f"{gradient},{-gradient / 7},{gradient * 0.66},2,180.5,0.61,10,gradient_based"
        yield f"{stamp},{worker},r{n},{knew},,,,,0.012,decision,{2 * n + 1},0,,,,,,,{n % 5 * 64}"
        ended = f"2025-07-31 06:49:{11 + int(at):02}.{n % 10}90"
        foreseen = f"{n % 5 * 48},{('fleet', 'client', 'client')[n % 3]},{40 + n},{n * 7 % 200 / 200},{n % 5 * 64}"
        yield f"{ended},{worker},r{n},,,,1,,,,completion_record,120,0.6,0.01,0.1,,completion,{2 * n + 2},0,success,,{foreseen}"


def write(path, header, rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


@pytest.fixture(scope="session")
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    recorder = write(folder / "marginal_utility_metrics_20250731_064911.csv", RECORDER, recorder_rows())
    files = [
        write(folder / "RR_router_test_20250731_091332.csv", CLIENT, client_rows(1, 2.0)),
        write(folder / "队列_router_test_20250731_091412.csv", CLIENT, client_rows(2, 3.0)),
        recorder,
        write(folder / "broken.csv", "<img src=x onerror=alert(1)>", ["1"]),
    ]
    page = folder / "report.html"
    command = [BINARY, "report", *files, "--policy-audit", recorder, "--output", str(page)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "broken.csv, line 1, column 1" in done.stderr
    return page


@pytest.fixture(params=[(s, c) for s in SCREENS for c in ("light", "dark")], ids=lambda p: "-".join(p))
def page(request, browser, page_file):
    with opened(browser, page_file, *request.param) as page:
        yield page


def test_every_chart_draws(page):
    assert_drawn(page, COMMON + PER_WORKER)
    page.get_by_role("radio", name="marginal_utility").click()
    assert_drawn(page, COMMON + PER_WORKER + DECISIONS + FORECASTS)


def test_forecasts_have_tables(page):
    page.get_by_role("radio", name="marginal_utility").click()
    assert page.get_by_role("region", name="Forecasts by class").locator("tbody th").all_inner_texts() == ["client", "fleet"]
    cached = page.get_by_role("region", name="Cached prompt tokens")
    assert cached.locator("tbody th").all_inner_texts() == ["none", "64–127", "128–255", "256–511"]
    # 200 answers, of which each fifth has 0, 64, 128, 192 or 256 predicted tokens, and three quarters of that reported.
    assert cached.locator("tfoot td").all_inner_texts() == ["200", "25,600", "19,200", "133 %", "32"]
    heat = page.get_by_role("region", name="True length against forecast")
    assert heat.locator("tbody tr").first.locator("th, td").all_inner_texts()[:2] == ["32–63", "24"]


def test_nothing_overflows(page):
    page.get_by_role("radio", name="marginal_utility").click()
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1]


def test_charts_shrink_with_window(page):
    page.set_viewport_size({"width": 360, "height": 700})
    until(page, "document.querySelector('.uplot').clientWidth < 360 && document.documentElement.scrollWidth <= 360")
    assert_drawn(page, COMMON + PER_WORKER)


def test_dark_mode_changes_colours(page):
    before = inked(page)
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    page.emulate_media(color_scheme="light" if dark else "dark")
    assert_drawn(page, list(before))


def test_run_can_be_hidden_and_shown(page):
    chip = page.get_by_role("navigation").get_by_role("button", name="RR")
    whole = inked(page)["latency"]
    chip.click()
    until(page, "document.querySelector('nav button').getAttribute('aria-pressed') === 'false'")
    less = inked(page)["latency"]
    chip.click()
    assert 100 < less < whole
    until(page, "document.querySelector('nav button').getAttribute('aria-pressed') === 'true'")


def test_runs_are_reachable_by_keyboard(page):
    page.get_by_role("radio", name="RR").focus()
    page.keyboard.press("ArrowLeft")
    assert page.get_by_role("radio", name="marginal_utility").get_attribute("aria-checked") == "true"
    assert_drawn(page, COMMON + PER_WORKER + DECISIONS + FORECASTS)


def test_runs_are_compared_by_ratio(page):
    table = page.get_by_role("region", name="Comparison of the runs")
    heads = table.get_by_role("columnheader").all_inner_texts()
    assert heads == ["× is to the first run", "RR", "队列", "marginal_utility"]
    row = table.get_by_role("row", name="Latency, median").get_by_role("cell").all_inner_texts()
    first, second = (float(cell.split(" s")[0]) for cell in row[:2])
    assert 1.8 < first < 2.2 and 2.7 < second < 3.3
    assert abs(float(row[1].split("×")[1]) - second / first) < 0.01
    failures = table.get_by_role("row", name="Failures").get_by_role("cell").all_inner_texts()
    assert failures[0] == "8"


def test_file_problems_are_listed(page):
    notices = page.locator("details.notice")
    assert "broken.csv, line 1, column 1" in notices.text_content()
    assert "<img src=x onerror=alert(1)>" in notices.text_content()
    assert notices.locator("img").count() == 0


def test_audit_shows_its_verdict(page):
    audit = page.locator("section", has_text="Audit of the decisions")
    assert "0 decisions of 170 by gradients match" in audit.locator(".verdict").inner_text()


def test_every_chart_has_a_description(page):
    words = page.eval_on_selector_all("[data-chart]", "all => all.map((host) => host.getAttribute('aria-label'))")
    assert all(len(text) > 30 for text in words), words
    assert any("median" in text for text in words)
