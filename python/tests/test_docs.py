"""The examples of the documentation run, with the addresses of test servers."""

import doctest

import pytest
import sgl_router.config
import sgl_router.router
import sgl_router.router_args
from conftest import ROOT

PAGES = [ROOT / "docs" / "python" / "index.md", ROOT / "docs" / "migrating.md"]


def blocks(text):
    """The Python blocks of a page, in order."""
    return [part.split("```", 1)[0] for part in text.split("```python\n")[1:]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_of_a_page_run(page, workers):
    names = {}
    for code in blocks(page.read_text(encoding="utf-8")):
        for known, url in zip(("http://127.0.0.1:31000", "http://127.0.0.1:31001"), workers):
            code = code.replace(known, url)
        exec(compile(code, str(page), "exec"), names)


MODULES = [sgl_router, sgl_router.config, sgl_router.router, sgl_router.router_args]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_doctests_run(module):
    assert doctest.testmod(module).failed == 0
