"""A folder that keeps estimated curvature, so that the next audit of a model does not pay again.

    .factors/
        1f0c....factors.safetensors    one estimate: tensors, and a sum over all of it

A file is named by everything the estimate depends on: weights, data, settings and versions. So a
file is right or not there; none is ever out of date. What a file holds is checked against its sum
when it is read. When the folder grows over its size, the files that were not used for longest go
first. The folder may be deleted at any time: it costs time, no result.
"""

from __future__ import annotations

import os
import re
import uuid
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from auditkit import fingerprint
from auditkit.engine.factors import KeptFactors
from auditkit.errors import StoreError
from auditkit.plugins import DISTRIBUTION, version_of

FORMAT = 1
"""The version of the files' layout."""

MOST = 2 * 2**30
"""How many bytes a folder holds where nothing is said: 2 GiB."""

_SUM = "sum"
_OWN = re.compile(r"[0-9a-f]{64}\.factors\.safetensors(\.[0-9a-f]{32}\.part)?")


class FactorFolder:
    """Keeps curvature in a folder; give it to engines as `ForwardINF(factors=...)`.

    Args:
        path: the folder, made when something is kept. It may hold other files: none but its own is
            ever removed.
        most: how many bytes its files may take. An estimate that is larger by itself is not kept.
    """

    def __init__(self, path: Path | str, *, most: int = MOST) -> None:
        self.path, self.most = Path(path), most

    def get(self, key: str) -> KeptFactors | None:
        """What is kept under a key; None where there is nothing.

        Raises:
            StoreError: the file is damaged or cannot be read.
        """
        path = self._file(key)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                facts = dict(file.metadata() or {})
                # Copied, so that they lie in memory as they did when they were estimated.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
            os.utime(path)  # used last
        except (SafetensorError, OSError, ValueError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise StoreError(f"{path} cannot be read ({reason}).") from error
        total = facts.pop(_SUM, None)
        if total != _total(facts, tensors):
            raise StoreError(f"{path} is damaged: its content does not have the sum it was given.")
        return KeptFactors(tensors, facts)

    def put(self, key: str, factors: KeptFactors) -> None:
        """Keep it under a key, whole or not at all, and make room for it.

        Raises:
            StoreError: it cannot be written.
        """
        size = sum(part.numel() * part.element_size() for part in factors.tensors.values())
        if size > self.most:
            return
        tensors = {
            name: part.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, part in factors.tensors.items()
        }
        metadata = {**factors.facts, _SUM: _total(factors.facts, tensors)}
        path = self._file(key)
        unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                save_file(tensors, unfinished, metadata=metadata)
                unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)
            self._make_room(path)
        except (SafetensorError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0].rstrip(".")
            raise StoreError(f"{self.path} cannot be written to ({reason}).") from error

    def _file(self, key: str) -> Path:
        versions = [FORMAT, version_of(DISTRIBUTION), torch.__version__]
        return self.path / f"{fingerprint.of_example([key, versions])}.factors.safetensors"

    def _make_room(self, newest: Path) -> None:
        """Remove own files, the longest unused first, until what is left is small enough."""
        files = []
        for path in self.path.iterdir():
            if _OWN.fullmatch(path.name) and path != newest:
                with suppress(FileNotFoundError):  # another run makes room too
                    status = path.stat()
                    files.append((status.st_mtime_ns, status.st_size, path))
        total = newest.stat().st_size + sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.most:
                break
            path.unlink(missing_ok=True)
            total -= size


def _total(facts: object, tensors: object) -> str:
    return fingerprint.of_example({"facts": facts, "tensors": tensors})
