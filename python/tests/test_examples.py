"""All examples and all code of the documentation work."""

import importlib.util
import pathlib
import re

import nbformat
import pytest
from nbclient import NotebookClient
from sgl_router import Load, simulate

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
NOTEBOOK_SECONDS = 300


def load(path):
    """The example as a module; its policies are registered."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("shortest_queue", "fewest_waiting"),
        ("gradient", "gradient"),
        ("epsilon_greedy", "epsilon_greedy"),
        ("softmin", "softmin"),
    ],
)
def test_example_policies_use_every_server(file, name):
    load(EXAMPLES / "policies" / f"{file}.py")
    found = simulate(Load(1000), policies=["random", name], seeds=2, on_error="raise")
    assert found[name].decisions == 2000 and found[name].errors == 0
    assert all(share > 0 for share in found[name].share.values())


def test_every_example_is_listed():
    listed = {"shortest_queue", "gradient", "epsilon_greedy", "softmin"}
    assert {path.stem for path in (EXAMPLES / "policies").glob("*.py")} == listed


def test_bandit_finds_fast_server():
    load(EXAMPLES / "policies" / "epsilon_greedy.py")
    found = simulate(policies=["random", "epsilon_greedy"], seeds=2)
    assert found["epsilon_greedy"]["e2e_mean_s"].ratio < 0.9


def test_example_costs_can_be_measured(capsys):
    load(EXAMPLES / "policy_cost.py").main(decisions=50)
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 7 and all(line.count("|") == table[0].count("|") for line in table)


@pytest.mark.parametrize("name", ["policies", "simulation"])
def test_documentation_code_runs(name, tmp_path, monkeypatch):
    page = ROOT / "docs" / "python" / f"{name}.md"
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    names = {"__name__": page.stem}
    for block in blocks:
        exec(compile(block, f"{page.name}: {block[:40]!r}", "exec"), names)


def test_documentation_shows_current_bandit():
    source = (EXAMPLES / "policies" / "epsilon_greedy.py").read_text()
    body = source[source.index("class EpsilonGreedy") :].strip()
    assert body in (ROOT / "docs" / "python" / "policies.md").read_text()


@pytest.mark.parametrize("traced", [False, True])
def test_notebook_runs(traced, tmp_path, monkeypatch):
    lines = [f'{{"arrival_s": {i / 20}, "input_tokens": 300, "output_tokens": {50 + i % 100}}}' for i in range(200)]
    trace = tmp_path / "trace.jsonl"
    trace.write_text("\n".join(lines))
    monkeypatch.setenv("TRACE", str(trace) if traced else "")
    # Charts go into the notebook, whatever the environment sets.
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(EXAMPLES / "compare_policies.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without results"
    NotebookClient(notebook, timeout=NOTEBOOK_SECONDS, resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in outputs)
    assert all(policy in text for policy in ("least_request", "marginal_cost", "faster_gets_more"))
    assert sum("image/png" in output.get("data", {}) for output in outputs) == (2 if traced else 1)
