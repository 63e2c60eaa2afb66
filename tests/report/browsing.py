"""A page in a real browser: how it is opened, waited for and looked at.

The binary is the one that SGL_ROUTER_BIN names, the browser the machine's own Chromium.
"""

import contextlib
import os
import pathlib
import shutil

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SGL_ROUTER_BIN", str(ROOT / "target" / "debug" / "sgl-router"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# No GPU, no sandbox (tests run as root in CI), and none of the services that a browser calls home for.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]
SCREENS = {"desktop": (1280, 900), "phone": (390, 844)}


@contextlib.contextmanager
def opened(browser, file, screen, scheme):
    """The page, drawn; at the end nothing may have been complained about, asked for or thrown."""
    width, height = SCREENS[screen]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"thrown: {error}"))
    page.on("request", lambda asked_for: asked.append(asked_for.url))
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-drawn]")
    yield page
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    context.close()


def until(page, condition):
    """Waits for a condition, looked at once a frame.

    Playwright's own `wait_for_function` evaluates its text anew each time, which the page's policy forbids.
    """
    page.evaluate(
        """async () => {
            const latest = performance.now() + 30000;
            while (!(CONDITION)) {
                if (performance.now() > latest) throw new Error("it never came true");
                await new Promise(requestAnimationFrame);
            }
        }""".replace("CONDITION", condition)
    )


def inked(page):
    """The charts of the page and how many pixels of each are in a strong colour, which only lines and marks are."""
    return page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll("[data-chart]")].map((host) => {
            const canvas = host.querySelector("canvas");
            if (!canvas) return [host.dataset.chart, 0];
            // Read from a copy: reading the chart's own canvas makes the browser warn that this is slow.
            const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
            copy.drawImage(canvas, 0, 0);
            const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
            let strong = 0;
            for (let i = 0; i < data.length; i += 4) {
                const [r, g, b, a] = data.slice(i, i + 4);
                if (a > 200 && Math.max(r, g, b) - Math.min(r, g, b) > 60) strong++;
            }
            return [host.dataset.chart, strong];
        }))"""
    )


def assert_drawn(page, wanted):
    ink = inked(page)
    assert list(ink) == wanted
    assert {name: n for name, n in ink.items() if n < 100} == {}
