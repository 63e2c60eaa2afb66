"""The report's page in a real browser: every chart draws, without console messages and without requests.

The binary is the one that SGL_ROUTER_BIN names, the browser the machine's own Chromium.
"""

import itertools
import math
import random
import subprocess

import pytest
from browsing import BINARY, SCREENS, SVG, assert_drawn, assert_png, assert_svg, inked, opened, saved, until

WORKERS = [f"http://10.0.0.{n}:30000" for n in (1, 2, 3)]
COMMON = ["differences", "paired-differences", "latency", "ttft", "tpot", "requests", "tokens", "in-flight", "waiting", "failures"]
PER_WORKER = ["share", "worker-latency", "worker-in-flight", "worker-waiting"]
FAULTS = ["faults"]
DECISIONS = ["decisions", "score", "throughput-gradient", "latency-gradient"]
SHADOWS = ["agreement"]
FORECASTS = ["calibration", "length-forecasts", "cache-forecasts"]
ONE_CLIENT = COMMON + PER_WORKER + FAULTS
ONE_RECORDER = COMMON + PER_WORKER + FAULTS + DECISIONS + SHADOWS + FORECASTS

CLIENT = (
    "req_id,success,error,host,actual_output_tokens,arrival_time,queue_time_start,queue_time_end,finish_time,"
    "total_latency,ttft,lateness"
)
RECORDER = (
    "timestamp,worker_url,request_id,throughput_gradient,latency_gradient,score,outstanding_requests,avg_throughput,"
    "avg_latency,window_size,selection_reason,actual_output_tokens,server_latency,queue_time,ttft,decision_time_ms,"
    "kind,seq,attempt,outcome,finish_time,cached_tokens,forecast_class,forecast_output_tokens,forecast_rank,"
    "predicted_cached_tokens,shadow_choices,error"
)


def client_rows(seed, slowness, lateness):
    """400 requests over about 20 s; every fiftieth fails."""
    chance = random.Random(seed)
    for n in range(400):
        at = n / 20
        latency = slowness * (0.5 + chance.random())
        row = f"{at},{at + 0.001},{at + 0.02},{at + latency},{latency},{latency / 4}"
        if n % 50 == 7:
            yield f"r{n},False,timeout,,,{at},,,{at + 9},9,,{lateness}"
        else:
            yield f"r{n},True,,{WORKERS[n % 3]},{50 + n % 60},{row},{lateness}"


def recorder_rows():
    """200 decisions, the first thirty by load, and their completions; every fortieth had a first attempt that failed."""
    seq = itertools.count(1)
    for n in range(200):
        at, worker = n / 10, WORKERS[n % 3]
        shadow = f"least_request={WORKERS[n % 6 // 2]}"
        stamp = f"2025-07-31 06:49:{11 + int(at):02}.{n % 10}00"
        again = int(n % 40 == 39)
        if again:
            knew = ",,-1,1,,,9,load_based"
            yield f"{stamp},{WORKERS[0]},r{n},{knew},,,,,0.012,decision,{next(seq)},0,,,,,,,,{shadow},"
            yield f"{stamp},{WORKERS[0]},r{n},,,,1,,,,completion_record,,0.01,,,,completion,{next(seq)},0,failed,,,,,,,,worker_reset"
        if n < 30:
            knew = f",,-{n % 4},{n % 4},,,{n // 3},load_based"
        else:
            gradient = math.sin(n / 9 + n % 3)
            knew = f"{gradient},{-gradient / 7},{gradient * 0.66},2,180.5,0.61,10,gradient_based"
        yield f"{stamp},{worker},r{n},{knew},,,,,0.012,decision,{next(seq)},{again},,,,,,,{n % 5 * 64},{shadow},"
        ended = f"2025-07-31 06:49:{11 + int(at):02}.{n % 10}90"
        foreseen = f"{n % 5 * 48},{('fleet', 'client', 'client')[n % 3]},{40 + n},{n * 7 % 200 / 200},{n % 5 * 64}"
        yield (
            f"{ended},{worker},r{n},,,,1,,,,completion_record,120,0.6,0.01,0.1,,completion,{next(seq)},{again},success,,"
            f"{foreseen},,"
        )


def write(path, header, rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


@pytest.fixture(scope="session")
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    recorder = write(folder / "marginal_utility_metrics_20250731_064911.csv", RECORDER, recorder_rows())
    files = [
        write(folder / "RR_router_test_20250731_091332.csv", CLIENT, client_rows(1, 2.0, 0.0002)),
        write(folder / "队列_router_test_20250731_091412.csv", CLIENT, client_rows(2, 3.0, 0.02)),
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


@pytest.fixture
def dark_page(browser, page_file):
    """The one page for what does not depend on the screen; saved figures are light even here."""
    with opened(browser, page_file, "desktop", "dark") as page:
        yield page


def test_every_chart_draws(page):
    assert_drawn(page, ONE_CLIENT)
    page.get_by_role("radio", name="marginal_utility").click()
    assert_drawn(page, ONE_RECORDER)


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
    assert_drawn(page, ONE_CLIENT)


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
    assert_drawn(page, ONE_RECORDER)


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


def test_findings_are_in_words(dark_page):
    words = dark_page.locator("#words li").all_inner_texts()
    first = words[0].replace("\u00a0", " ")
    assert first.startswith("队列_router_test_20250731_091412 beside RR_router_test_20250731_091332, from 392 paired requests:")
    assert "mean latency is 5" in first and "% higher (95 % interval" in first
    assert any("5 × tried again" in text and "5 × worker_reset" in text for text in words), words
    assert any("The shadow least_request would have chosen another worker" in text for text in words), words
    assert any("central 80 % of their forecasts" in text.replace("\u00a0", " ") for text in words), words


def test_runs_that_are_not_comparable_have_a_warning(dark_page):
    warnings = dark_page.locator("#comparability li").all_inner_texts()
    assert len(warnings) == 1 and "A late sender: in 队列" in warnings[0] and "20.0" in warnings[0], warnings


def as_seconds(text):
    """The seconds of `+982 ms`."""
    figure, unit = text.replace("−", "-").split()
    return float(figure) * {"s": 1, "ms": 1e-3}[unit]


def test_differences_have_intervals(dark_page):
    table = dark_page.get_by_role("region", name="队列 beside RR")
    assert "392 requests, each beside the same one" in table.locator("caption").inner_text()
    cells = table.get_by_role("row", name="Latency, mean").get_by_role("cell").all_inner_texts()
    base, value, difference = (as_seconds(cell) for cell in cells[:3])
    assert abs(value - base - difference) < 0.02 and cells[4].startswith("+")
    low, high = (as_seconds(end) for end in cells[3].split(" to "))
    assert 0 < low < difference < high < 2
    low, high = (float(end.removesuffix(" %")) for end in cells[5].split(" to "))
    assert 0 < low < float(cells[4].removesuffix(" %")) < high
    chart = dark_page.locator("[data-chart=differences]").get_attribute("aria-label")
    assert "Latency, 99 % +" in chart and "First token, mean +" in chart


def test_shadows_and_faults_have_tables(dark_page):
    dark_page.get_by_role("radio", name="marginal_utility").click()
    row = dark_page.get_by_role("region", name="Shadow policies").locator("tbody tr").locator("th, td").all_inner_texts()
    assert row[:2] == ["least_request", "205"] and "%" in row[2]
    shares = dark_page.get_by_role("region", name="Where the shadows would have sent").locator("tbody tr")
    assert shares.count() == 3
    faults = dark_page.get_by_role("region", name="Retries and failures by kind").locator("tbody tr")
    assert [row.split("\t")[:2] for row in faults.all_inner_texts()] == [["tried again", "5"], ["worker_reset", "5"]]
    coverage = dark_page.get_by_role("region", name="Coverage of the length forecasts").locator("tbody tr").all_inner_texts()
    assert [row.split("\t")[0] for row in coverage] == ["central 50 %", "central 80 %", "central 95 %"]


def test_every_chart_has_an_svg(dark_page):
    dark_page.get_by_role("radio", name="marginal_utility").click()
    figures = dark_page.evaluate("plots.map((entry) => svgOf(entry).text)")
    assert len(figures) == dark_page.get_by_role("button", name="as SVG").count() == len(ONE_RECORDER)
    for figure in figures:
        assert len(list(assert_svg(figure.encode()).iter(SVG + "path"))) >= 3, figure[:300]


def test_saved_figure_is_what_is_shown(dark_page):
    button = dark_page.get_by_role("button", name="Save “Latency” as SVG")
    name, content = saved(dark_page, button, press="Enter")
    assert name == "latency.svg"
    assert_svg(content, "Latency", "Part of the requests", "RR", "队列", "100 %")
    # The light colours of the first two runs, whatever the page has.
    assert b"#2f6bd8" in content and b"#d9730d" in content
    dark_page.get_by_role("navigation").get_by_role("button", name="RR").click()
    _, content = saved(dark_page, button)
    assert b">RR<" not in content and b"#2f6bd8" not in content
    assert_drawn(dark_page, ONE_CLIENT)


def test_figures_are_saved_as_png(dark_page):
    for title, file in (("Latency", "latency.png"), ("Change against RR", "differences-RR.png"), ("Share of each worker", "share-RR.png")):
        name, content = saved(dark_page, dark_page.get_by_role("button", name=f"Save “{title}” as PNG"))
        assert name == file
        assert_png(content)
