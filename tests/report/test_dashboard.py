"""The dashboard in a real browser, before an emulated fleet in which one worker is slow, one dead and one draining.

Its screenshots stay below the target folder, in `dashboard`.
"""

import contextlib
import itertools
import json
import pathlib

import pytest
from browsing import BINARY, until, visited
from fleets import Fleet, Server, free_ports

SIZES = {"wide": (1440, 900), "narrow": (390, 844)}
SHOTS = pathlib.Path(BINARY).resolve().parents[1] / "dashboard"
KEY = "boss-key"


def short(url):
    return url.removeprefix("http://")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("dashboard"))
    yield fleet
    fleet.stop()


@pytest.fixture(scope="module")
def broken(fleet):
    fleet.break_workers()
    return fleet


@contextlib.contextmanager
def dashboard(browser, fleet, **options):
    """The page, once it shows the fleet."""
    with visited(browser, f"{fleet.url}/dashboard", SIZES["wide"], "light", **options) as page:
        page.wait_for_selector("html[data-drawn]")
        yield page
        assert {url.split("/")[2] for url in page.requested if not url.startswith("data:")} == {short(fleet.url)}


def has_text(page, selector, text):
    """Waits until the text of the first element that fits the selector has `text` in it."""
    until(page, f"(document.querySelector({json.dumps(selector)})?.textContent ?? '').includes({json.dumps(text)})")


def row_of(page, url):
    return page.locator("#fleet tbody tr", has_text=short(url))


def test_what_is_wrong_is_named_in_words(browser, broken):
    with dashboard(browser, broken) as page:
        for worker, said in [(broken.dead, "is down"), (broken.slow, "times slower than the others"), (broken.drained, "drain")]:
            has_text(page, "#problems", f"{short(worker)} is ")
            assert page.locator("#problems li", has_text=short(worker)).filter(has_text=said).count() == 1
        first = page.locator("#problems li").first
        assert first.get_attribute("class") == "critical" and short(broken.dead) in first.inner_text()
        assert page.title().startswith("("), "the tab says how many problems there are"
        until(page, "document.querySelectorAll('#decisions > li').length >= 3 && document.querySelectorAll('#shadows tbody tr').length")
        SHOTS.mkdir(exist_ok=True)
        for (size, (width, height)), scheme in itertools.product(SIZES.items(), ["light", "dark"]):
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=SHOTS / f"{size}-{scheme}-top.png")
            page.screenshot(path=SHOTS / f"{size}-{scheme}.png", full_page=True)
            wanted = page.evaluate("document.documentElement.scrollWidth")
            assert wanted <= width, "the page itself does not scroll sideways"


def test_fleet_is_sorted_and_filtered(browser, broken):
    with dashboard(browser, broken) as page:
        rows = page.locator("#fleet tbody tr")
        until(page, "document.querySelectorAll('#fleet tbody tr').length === 5")
        has_text(page, "#fleet tbody tr", short(broken.dead))
        head = page.locator("#fleet thead th", has_text="Worker")
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        names = [text.split("\n")[0] for text in rows.locator("th").all_inner_texts()]
        assert names == sorted(names)
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "descending", "the head keeps the focus"
        page.get_by_label("Name or label").fill("rack=r7")
        until(page, "document.querySelectorAll('#fleet tbody tr').length === 1")
        assert short(broken.dead) in rows.first.inner_text()
        page.get_by_label("Name or label").fill("nobody")
        until(page, "document.querySelectorAll('#fleet tbody tr').length === 0")
        page.get_by_role("button", name="Show all").click()
        page.get_by_label("Zone").select_option("west")
        until(page, "document.querySelectorAll('#fleet tbody tr').length === 1")
        page.locator("#problems li", has_text="slower").get_by_role("button").click()
        has_text(page, "#fleet tbody", short(broken.slow))
        assert rows.count() == 1 and "slow" in rows.first.inner_text()


def manage(page, url):
    row_of(page, url).get_by_role("button").click()
    return page.get_by_role("dialog")


def test_workers_are_drained_put_back_and_weighed(browser, broken):
    worker = broken.healthy[0]
    with dashboard(browser, broken) as page:
        dialog = manage(page, worker)
        dialog.get_by_role("button", name="Drain …").click()
        assert "no new requests" in dialog.inner_text(), "it asks first"
        dialog.get_by_role("button", name="Do it").click()
        has_text(page, "#dialog-answer", "The router answered: 20")
        page.keyboard.press("Enter")
        until(page, "!document.getElementById('dialog').open")
        has_text(page, "#problems", "are drain")
        dialog = manage(page, worker)
        dialog.get_by_role("button", name="Put back …").click()
        dialog.get_by_role("button", name="Do it").click()
        has_text(page, "#dialog-answer", "The router answered: 20")
        page.keyboard.press("Escape")
        dialog = manage(page, worker)
        dialog.get_by_label("Weight").fill("2.5")
        dialog.get_by_role("button", name="Set weight …").click()
        assert "becomes 2.5 (it is 1)" in dialog.inner_text()
        dialog.get_by_role("button", name="Do it").click()
        has_text(page, "#dialog-answer", "The router answered: 20")
    assert broken.workers()[worker]["weight"] == 2.5


def test_policy_changes_after_a_question(browser, broken):
    with dashboard(browser, broken, is_refused=True) as page:
        dialog = page.get_by_role("dialog")

        def wanted(policy):
            page.get_by_role("textbox", name="Policy").fill(policy)
            page.get_by_role("button", name="Change …").click()
            until(page, "document.querySelector('#dialog-body .verdict')")

        wanted("no_such_policy")
        assert "The router refuses it: 400" in dialog.inner_text() and "no_such_policy" in dialog.locator("#dialog-body").inner_text()
        assert dialog.get_by_role("button", name="Do it").is_disabled()
        page.keyboard.press("Escape")
        for policy in ["least_load", "marginal_cost"]:
            wanted(policy)
            assert "what would change" in dialog.inner_text() and f'"to": "{policy}"' in dialog.inner_text()
            dialog.get_by_role("button", name="Do it").click()
            has_text(page, "#dialog-answer", "The router answered: 200")
            page.keyboard.press("Escape")
            has_text(page, "#policy-now", f"It is now {policy}.")


def test_where_a_prompt_would_go(browser, broken):
    with dashboard(browser, broken) as page:
        page.get_by_label("Where would this prompt go?").fill("What is the capital of France? <img src=x onerror=alert(1)>")
        page.keyboard.press("Enter")
        has_text(page, "#answer", "It would go to")
        answer = page.locator("#answer")
        assert "Nothing was sent" in answer.inner_text() and answer.locator(".chosen").count() == 1
        answer.get_by_text("Terms of the costs").focus()
        page.keyboard.press("Enter")
        table = answer.get_by_role("table", name="Terms of the costs")
        assert "own_latency" in table.get_by_role("columnheader").all_inner_texts()
        assert table.get_by_role("row").count() >= 3


def test_decisions_stand_still_while_they_are_read_and_open_their_trace(browser, broken):
    with dashboard(browser, broken) as page:
        until(page, "document.querySelectorAll('#decisions > li').length >= 4")
        page.locator("#decisions").focus()
        row = page.locator("#decisions > li").nth(2)
        button = row.get_by_role("button")
        button.focus()
        name = button.get_attribute("aria-label")
        has_text(page, "#newer", "newer")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == name
        assert row.get_by_role("button").get_attribute("aria-label") == name
        page.keyboard.press("Enter")
        has_text(page, "#dialog-answer", '"request_id"')
        assert "The router answered: 200" in page.get_by_role("dialog").inner_text()
        page.keyboard.press("Escape")
        page.evaluate("document.activeElement.blur()")
        until(page, "document.getElementById('newer').textContent === ''")


def test_chinese_english_and_themes(browser, broken):
    with dashboard(browser, broken, locale="zh-CN") as page:
        has_text(page, "#problems", f"{short(broken.dead)} 不可用")
        has_text(page, "#problems", "比其他 worker 慢")
        assert page.evaluate("document.documentElement.lang") == "zh-CN"
        page.screenshot(path=SHOTS / "chinese.png")
        page.locator("#language").select_option("en")
        has_text(page, "#problems", f"{short(broken.dead)} is down")
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.locator("#theme").select_option("dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
        page.reload()
        page.wait_for_selector("html[data-drawn]")
        assert page.evaluate("[document.documentElement.lang, getComputedStyle(document.body).backgroundColor]") != ["zh-CN", light]


@pytest.fixture
def router(tmp_path, request):
    """A router with these arguments, whose workers are not there."""
    port = free_ports(1)
    server = Server(tmp_path / "log", "launch", "--port", str(port), *request.param)
    server.url = f"http://127.0.0.1:{port}"
    server.wait_for(f"{server.url}/liveness")
    yield server
    server.stop()


@pytest.mark.parametrize("router", [["--worker-urls", *(f"http://127.0.0.1:{port}" for port in range(1, 1025))]], indirect=True, ids=["1024"])
def test_a_thousand_workers(browser, router):
    with dashboard(browser, router) as page:
        has_text(page, "#place", "1–100 of 1024")
        until(page, "document.querySelectorAll('#fleet tbody tr').length === 100")
        page.get_by_role("button", name="Rows after").click()
        has_text(page, "#place", "101–200 of 1024")
        page.get_by_label("Name or label").fill(":1024")
        until(page, "document.querySelectorAll('#fleet tbody tr').length === 1")
        has_text(page, "#problems", "and 1021 more")
        slowest = page.evaluate(
            """async () => {
                let slowest = 0, before = performance.now();
                for (const end = before + 2000; before < end;) {
                    await new Promise(requestAnimationFrame);
                    slowest = Math.max(slowest, performance.now() - before);
                    before = performance.now();
                }
                return slowest;
            }"""
        )
        print(f"longest frame with 1024 workers: {slowest:.0f} ms")


@pytest.mark.parametrize("router", [["--start-empty", "--admin-api-key", KEY]], indirect=True, ids=["key"])
def test_key_is_asked_for_and_a_lost_router_is_noticed(browser, router):
    with visited(browser, f"{router.url}/dashboard", SIZES["narrow"], "light", is_refused=True) as page:
        dialog = page.get_by_role("dialog")
        has_text(page, "#dialog-title", "asks for an admin key")
        dialog.get_by_label("Admin key").fill("wrong")
        page.keyboard.press("Enter")
        has_text(page, "#dialog-title", "does not accept this key")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Enter the key").click()
        dialog.get_by_label("Admin key").fill(KEY)
        page.keyboard.press("Enter")
        page.wait_for_selector("html[data-drawn]")
        has_text(page, "#problems", "There is no worker")
        assert KEY not in page.evaluate("JSON.stringify({...localStorage}) + location.href")
        router.stop()
        has_text(page, "#disconnected", "trying again")
        assert page.evaluate("document.body.classList.contains('stale')")
        page.goto("about:blank")
