"""The page of a simulation in a real browser: figures with intervals, shares, marks and charts, without requests."""

import json
import subprocess

import pytest
from browsing import BINARY, SCREENS, assert_drawn, assert_png, assert_svg, opened, saved, until

POLICIES = ["round_robin", "least_request", "marginal_cost:ttft_weight=2", "oracle"]
COMMON = ["differences", "latency", "ttft", "tpot", "requests", "tokens", "in-flight"]
PER_WORKER = ["share", "worker-latency", "worker-in-flight"]


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """The page, and the same figures as JSON."""
    page = tmp_path_factory.mktemp("simulation") / "report.html"
    command = [
        BINARY, "simulate", "--policy", ",".join(POLICIES), "--seeds", "3", "--num-requests", "500", "--json",
        "--event", "slow:0:4@6..12", "--output", str(page),
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return page, json.loads(done.stdout)


@pytest.fixture(params=[(s, c) for s in SCREENS for c in ("light", "dark")], ids=lambda p: "-".join(p))
def page(request, browser, simulated):
    with opened(browser, simulated[0], *request.param) as page:
        yield page


def test_every_chart_draws(page):
    assert_drawn(page, COMMON + PER_WORKER)
    page.get_by_role("radio", name="oracle").click()
    assert_drawn(page, COMMON + PER_WORKER)


def test_nothing_overflows(page):
    page.set_viewport_size({"width": 360, "height": 700})
    until(page, "document.querySelector('.uplot').clientWidth < 360 && document.documentElement.scrollWidth <= 360")


def test_figures_match_json(page, simulated):
    assert page.title() == "sgl-router simulation"
    table = page.get_by_role("region", name="Comparison of the policies")
    assert table.get_by_role("columnheader").all_inner_texts()[1:] == POLICIES
    cells = table.get_by_role("row", name="Latency, mean").get_by_role("cell").all_inner_texts()
    for cell, policy in zip(cells, simulated[1]["policies"], strict=True):
        found = policy["measures"]["e2e_mean_s"]
        figure, rest = cell.split(" s")
        assert abs(float(figure) - found["mean"]) < 0.006
        assert f"±{found['half_width']:.2f}" in rest
        if policy["policy"] != POLICIES[0]:
            assert f"×{found['ratio']['mean']:.2f}" in rest


def test_worker_shares_add_up(page):
    bars = page.get_by_role("region", name="Who answered").locator(".stack")
    widths = bars.evaluate_all(
        "all => all.map((bar) => [...bar.children].reduce((sum, piece) => sum + parseFloat(piece.style.width), 0))"
    )
    assert len(widths) == len(POLICIES)
    assert all(abs(width - 100) < 0.1 for width in widths)


def test_setting_and_fidelity_are_shown(page):
    facts = page.locator("dl").inner_text()
    assert "slow:0:4@6..12" in facts and "sglang_1.5b,sglang_8b*2" in facts
    rows = page.get_by_role("region", name="Recorded runs and the model").get_by_role("row").all_inner_texts()
    assert len(rows) == 9 and all("%" in row for row in rows[1:])


def test_events_are_marked_in_charts(page):
    written = page.evaluate(
        """async () => {
            const written = [];
            const write = CanvasRenderingContext2D.prototype.fillText;
            CanvasRenderingContext2D.prototype.fillText = function (text, ...where) {
                written.push(text);
                return write.call(this, text, ...where);
            };
            drawAll();
            await new Promise(requestAnimationFrame);
            return written;
        }"""
    )
    for mark in ("server 0 ×4 slower", "server 0 normal"):
        assert written.count(mark) == 4


def test_bars_are_saved_as_a_figure(browser, simulated):
    with opened(browser, simulated[0], "desktop", "dark") as page:
        assert_bars_are_saved(page)


def assert_bars_are_saved(page):
    _, content = saved(page, page.get_by_role("button", name="Save “Who answered” as SVG"))
    assert_svg(content, "Share of all answers", *POLICIES)
    name, content = saved(page, page.get_by_role("button", name="Save “Who answered” as PNG"))
    assert name == "who-answered.png"
    assert_png(content)


def test_json_of_a_simulation_has_a_page(browser, simulated, tmp_path):
    """Without runs there are no charts of runs, and the figures are the same."""
    (tmp_path / "found.json").write_text(json.dumps(simulated[1]))
    command = [BINARY, "report", "found.json", "-o", "page.html"]
    done = subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0 and "a simulation of 4 policies" in done.stdout, done.stderr
    with opened(browser, tmp_path / "page.html", "desktop", "light") as page:
        assert_drawn(page, ["differences"])
        assert page.locator("#lead").inner_text() == "4 policies"
        table = page.get_by_role("region", name="Comparison of the policies")
        assert table.get_by_role("columnheader").all_inner_texts()[1:] == POLICIES
        assert page.locator("#words li").count() == len(POLICIES) - 1
