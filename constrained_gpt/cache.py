"""The project's cache folder: compiled lattices and converted weights, by content hash.

Losing it costs time, never results: a damaged file is a miss. Files appear whole (written beside
and renamed). One format: a JSON header, then arrays as they lie in memory; no pickle.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

ENVIRONMENT = "CONSTRAINED_GPT_CACHE"
_MAGIC = b"arrays01"
_FRONT = len(_MAGIC) + 8  # then the header, whose length is in the 8 bytes
_ALIGNED = 64


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
    """The arrays saved under (kind, key), or None if there are none that can be read.

    They are mapped from the file, so that only what is used is read. They may be written to; the
    file stays as it is.
    """
    path = folder() / kind / f"{key}.arrays"
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        size = int.from_bytes(mapped[len(_MAGIC) : _FRONT], "little")
        header = mapped[_FRONT : _FRONT + size]
        head = json.loads(header)
        if mapped[: len(_MAGIC)] != _MAGIC or head["bytes"] != len(mapped):
            return None
        return {
            name: np.frombuffer(mapped, dtype, math.prod(shape), offset).reshape(shape)
            for name, dtype, shape, offset in head["arrays"]
        }
    except Exception:  # a missing, damaged or foreign file is a miss, whatever is raised
        return None


def save_arrays(kind: str, key: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Keep arrays under (kind, key). A folder that cannot be written is no error: no cache then."""
    path = folder() / kind / f"{key}.arrays"
    entries: list[list[object]] = []
    end = 0
    for name, array in arrays.items():
        entries.append([name, array.dtype.str, list(array.shape), end])
        end += -(-array.nbytes // _ALIGNED) * _ALIGNED
    # The header tells offsets from the beginning of the file, so its own length, rounded up.
    length = len(json.dumps(entries)) + 32 * (len(entries) + 4)
    begin = -(-(_FRONT + length) // _ALIGNED) * _ALIGNED
    moved = [[name, dtype, shape, int(at) + begin] for name, dtype, shape, at in entries]  # type: ignore[call-overload]
    header = json.dumps({"bytes": begin + end, "arrays": moved}).encode().ljust(begin - _FRONT)
    with (
        contextlib.suppress(OSError),
        written_whole(path) as scratch,
        scratch.open("wb") as file,
    ):
        file.write(_MAGIC + len(header).to_bytes(8, "little") + header)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).data.cast("B") if array.nbytes else b"")
            file.write(bytes(-array.nbytes % _ALIGNED))
