"""Results that took long, on disk: ``$BACKACTION_CACHE``, or ``~/.cache/backaction``."""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp


def directory() -> Path:
    """Where cached results lie."""
    return Path(os.environ.get("BACKACTION_CACHE") or Path.home() / ".cache" / "backaction")


def key(version: str, parts: Iterable[Any]) -> str:
    """Hash of matrices and numbers, and of the version of what computes with them."""
    digest = hashlib.sha256(version.encode())
    for part in parts:
        if sp.issparse(part):
            matrix = sp.csr_array(part)
            for array in (matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data):
                digest.update(array.tobytes())
        digest.update(repr(part.shape if sp.issparse(part) else part).encode() + b";")
    return digest.hexdigest()[:32]


def cached(name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """The array stored under `name`, else computed and stored.

    A file that cannot be read is computed again, with a warning; so is nothing lost where the
    directory cannot be written.  Files appear whole (written aside, then renamed).
    """
    path = directory() / f"{name}.npy"
    if path.exists():
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            warnings.warn(f"The cached {path} cannot be read ({error}); computing it again.", stacklevel=3)
    result = compute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as handle:
            try:
                np.save(handle, result)
                handle.close()
                os.replace(handle.name, path)
            except BaseException:
                handle.close()
                Path(handle.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        warnings.warn(
            f"The result cannot be stored in {path.parent} ({error}); set BACKACTION_CACHE or pass cache=False.",
            stacklevel=3,
        )
    return result
