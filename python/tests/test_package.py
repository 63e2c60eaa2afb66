"""The package: types that check, stubs that match, and a light import."""

import importlib.resources
import pathlib
import subprocess
import sys

import pytest
import sgl_router
from conftest import TIMEOUT, ROOT

SOURCE = ROOT / "python" / "src" / "sgl_router"


def checked(*command):
    """Run a checker and fail with its output."""
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=10 * TIMEOUT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_stubs_match_native_module():
    checked("mypy.stubtest", "sgl_router._native")


def test_types_check():
    checked("mypy", "--strict", str(SOURCE))


MISTYPED = [
    ('polcy="random"', 'Unexpected keyword argument "polcy"'),
    ('port="http"', 'has incompatible type "str"; expected "int"'),
    ("policy=7", 'has incompatible type "int"'),
]


def test_keywords_of_router_are_typed(tmp_path):
    program = tmp_path / "program.py"
    right = 'Router(["http://a"], policy=PolicyType.Random, port=1, selector={}, prefill_urls=[("http://p", None)])'
    lines = ["from sgl_router import PolicyType, Router", right, *(f"Router({words})" for words, _ in MISTYPED)]
    program.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--hide-error-context", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10 * TIMEOUT)
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(errors) == len(MISTYPED), done.stdout
    for number, (line, (_, message)) in enumerate(zip(errors, MISTYPED), 3):
        assert f"program.py:{number}:" in line and message in line


def test_package_is_marked_typed():
    assert importlib.resources.files(sgl_router).joinpath("py.typed").is_file()


@pytest.mark.parametrize("words", [["sgl-router", "--version"], ["sgl-router-launch", "--help"]])
def test_console_scripts_exist(words):
    program = pathlib.Path(sys.executable).with_name(words[0])
    assert subprocess.run([program, *words[1:]], capture_output=True, timeout=TIMEOUT).returncode == 0


#: Slow to load and optional.
HEAVY = ["argparse", "asyncio", "multiprocessing", "numpy", "pandas", "pyarrow", "sglang", "unittest", "urllib.request"]


@pytest.mark.parametrize("name", HEAVY)
def test_import_loads_nothing_heavy(name):
    code = f"import sys, sgl_router; sys.exit({name!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=TIMEOUT).returncode == 0
