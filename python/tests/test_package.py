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


def test_package_is_marked_typed():
    assert importlib.resources.files(sgl_router).joinpath("py.typed").is_file()


@pytest.mark.parametrize("words", [["sgl-router", "--version"], ["sgl-router-launch", "--help"]])
def test_console_scripts_exist(words):
    program = pathlib.Path(sys.executable).with_name(words[0])
    assert subprocess.run([program, *words[1:]], capture_output=True, timeout=TIMEOUT).returncode == 0


#: Slow to load and optional.
HEAVY = ["asyncio", "multiprocessing", "numpy", "pandas", "pyarrow", "sglang", "unittest", "urllib.request"]


@pytest.mark.parametrize("name", HEAVY)
def test_import_loads_nothing_heavy(name):
    code = f"import sys, sgl_router; sys.exit({name!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=TIMEOUT).returncode == 0
