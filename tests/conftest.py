"""What many tests share: what must be there under CI, data sets, and plugins made on the fly."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

Bytes = npt.NDArray[np.uint8]


def missing(what: str, package: str) -> None:
    """Skip a test for want of something; fail under `CI=true`, where it must be there."""
    reason = f"{what} is missing: install the Debian package {package}."
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny models are quicker on one thread, and sums come out the same on every machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def require_chromium() -> str:
    """The path of a Chromium."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        missing("Chromium", "chromium")
    return str(found)


@pytest.fixture(scope="session")
def fashion_mnist() -> tuple[Bytes, Bytes]:
    """Fashion-MNIST's 60,000 training images, uint8 [n, 28, 28], and labels, uint8 [n]."""
    if not FASHION_MNIST.is_dir():
        missing("Fashion-MNIST", "dataset-fashion-mnist")
    images = _idx(FASHION_MNIST / "train-images-idx3-ubyte.gz", header=16)
    labels = _idx(FASHION_MNIST / "train-labels-idx1-ubyte.gz", header=8)
    return images.reshape(-1, 28, 28), labels


MakeDistribution = Callable[..., Path]


@pytest.fixture
def make_distribution(tmp_path: Path) -> MakeDistribution:
    """Make an installed distribution with one plugin; gives the folder to put on the path."""

    def make(
        distribution: str, source: str, *, entry: str, module: str, version: str = "1.2.3"
    ) -> Path:
        folder = tmp_path / f"site-{distribution}"
        metadata = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        (metadata / "entry_points.txt").write_text(f"[auditkit]\n{entry} = {module}\n")
        (folder / f"{module}.py").write_text(textwrap.dedent(source))
        return folder

    return make


@pytest.fixture
def install(
    make_distribution: MakeDistribution, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """Installs distributions with one plugin each, into this process and its children."""
    made: list[str] = []

    def do(distribution: str, source: str, *, entry: str) -> None:
        module = f"plugin_{uuid.uuid4().hex}"
        made.append(module)
        folder = make_distribution(distribution, source, entry=entry, module=module)
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)

    yield do
    for module in made:
        sys.modules.pop(module, None)


def _idx(path: Path, *, header: int) -> Bytes:
    """The bytes after the header of a gzipped IDX file."""
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), dtype=np.uint8, offset=header)
