"""Opens a page in a real browser, waits for it and reads its charts.

The binary is the one that SGL_ROUTER_BIN names, the browser is the installed Chromium or Chrome.
"""

import contextlib
import os
import pathlib
import shutil
import struct
from xml.etree import ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SGL_ROUTER_BIN", str(ROOT / "target" / "debug" / "sgl-router"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# No GPU, no sandbox (tests run as root in CI), and no background requests of the browser.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]
SVG = "{http://www.w3.org/2000/svg}"
SCREENS = {"desktop": (1280, 900), "phone": (390, 844)}


@contextlib.contextmanager
def visited(browser, url, size, scheme, locale="en-US", is_refused=False):
    """The page at `url`. Console messages and exceptions fail the test at the end.

    The browser notes each response with an error status by itself: a test that asks for one says that it `is_refused`.
    """
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, locale=locale)
    page = context.new_page()
    messages, page.requested = [], []
    page.on("console", lambda message: messages.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: messages.append(f"thrown: {error}"))
    page.on("request", lambda request: page.requested.append(request.url))
    page.goto(url)
    yield page
    refused = [text for text in messages if text.startswith("error: Failed to load resource: the server responded")]
    assert [text for text in messages if text not in refused] == []
    assert bool(refused) == is_refused, refused
    context.close()


@contextlib.contextmanager
def opened(browser, file, screen, scheme):
    """The drawn page of a file, which requests nothing else."""
    with visited(browser, file.as_uri(), SCREENS[screen], scheme) as page:
        page.wait_for_selector("html[data-drawn]")
        yield page
        # A figure that is saved is a blob in the page's own memory.
        assert [url for url in page.requested if not url.startswith(("data:", "blob:"))] == [file.as_uri()]


def saved(page, button, press=None):
    """The file that a button saves, pressed by mouse or by a key: its name and its bytes."""
    with page.expect_download() as download:
        button.press(press) if press else button.click()
    return download.value.suggested_filename, pathlib.Path(download.value.path()).read_bytes()


def assert_svg(content, *texts):
    """Asserts a figure that stands alone: light colours on white, and these texts in it."""
    root = ElementTree.fromstring(content)
    assert root.tag == SVG + "svg" and int(root.get("width")) == 640 and int(root.get("height")) > 100
    ground, *_ = root.findall(SVG + "rect")
    assert ground.get("fill") == "#ffffff" and "Helvetica" in root.get("font-family")
    written = [text.text for text in root.iter(SVG + "text")]
    assert [text for text in texts if text not in written] == [], written
    assert not any(word in content for word in (b"NaN", b"undefined", b"var(", b"http://10."))
    return root


def assert_png(content):
    """Asserts a PNG of 640 pixels times three."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n" and len(content) > 5_000
    width, height = struct.unpack(">II", content[16:24])
    assert width == 1920 and height > 300


def until(page, condition):
    """Waits for a condition, checked once per frame.

    Playwright's `wait_for_function` uses eval, which the content security policy of the page forbids.
    """
    page.evaluate(
        """async () => {
            const latest = performance.now() + 30000;
            while (!(CONDITION)) {
                if (performance.now() > latest) throw new Error("the condition never held");
                await new Promise(requestAnimationFrame);
            }
        }""".replace("CONDITION", condition)
    )


def inked(page):
    """The charts of the page, and how many pixels of each have a strong colour, as only lines and marks do."""
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
