"""The official JavaScript clients, where Node.js is installed."""

import os
import pathlib
import shutil
import subprocess

import pytest

HERE = pathlib.Path(__file__).parent / "javascript"


@pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="Node.js is missing")
@pytest.mark.parametrize(("through", "tests"), [("router", "."), ("grpc_router", "chat")])
def test_javascript_clients(through, tests, request, model, tmp_path):
    for name in ("package.json", "package-lock.json", "clients.test.mjs"):
        shutil.copy(HERE / name, tmp_path)
    subprocess.run(["npm", "ci", "--silent", "--ignore-scripts"], cwd=tmp_path, check=True, timeout=300)
    environment = {**os.environ, "ROUTER_URL": request.getfixturevalue(through), "MODEL": model}
    run = subprocess.run(
        ["node", "--test", "--test-name-pattern", tests], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stdout + run.stderr
