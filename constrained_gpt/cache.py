"""The project's cache folder: compiled lattices and converted weights, by content hash.

Losing it costs time, never results: a damaged file is a miss. Files appear whole (written beside
and renamed). Knows no formats but numpy's, read without pickle.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

ENVIRONMENT = "CONSTRAINED_GPT_CACHE"


def folder() -> Path:
    """Where caches live: $CONSTRAINED_GPT_CACHE, else $XDG_CACHE_HOME/constrained-gpt, else
    ~/.cache/constrained-gpt."""
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "constrained-gpt"


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a scratch path beside `path`; on success it becomes `path`, on failure it is gone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".", suffix=".part")
    os.close(handle)
    scratch = Path(name)
    try:
        yield scratch
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def load_arrays(kind: str, key: str) -> dict[str, np.ndarray] | None:
    """The arrays saved under (kind, key), or None if there are none that can be read."""
    path = folder() / kind / f"{key}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except Exception:  # a missing, damaged or foreign file is a miss, whatever numpy raises
        return None


def save_arrays(kind: str, key: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Keep arrays under (kind, key). A folder that cannot be written is no error: no cache then."""
    path = folder() / kind / f"{key}.npz"
    with (
        contextlib.suppress(OSError),
        written_whole(path) as scratch,
        scratch.open("wb") as file,
    ):
        np.savez(file, **arrays)  # type: ignore[arg-type]
