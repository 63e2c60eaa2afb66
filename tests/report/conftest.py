"""One browser for all tests."""

import pytest
from browsing import CHROMIUM, FLAGS
from playwright.sync_api import sync_playwright


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip("Chromium is missing")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
