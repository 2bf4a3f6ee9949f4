"""The project's cache folder: compiled lattices and converted weights, by content hash.

Losing it costs time, never results: a damaged file is a miss. Files appear whole (written beside
and renamed). One format: a JSON header, then arrays as they lie in memory; no pickle. Called by
`lattice.compile`, `int8_weights` and `file_hash`.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import secrets
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

ENVIRONMENT = "CONSTRAINED_GPT_CACHE"
_MAGIC = b"arrays02"
_FRONT = len(_MAGIC) + 8 + 4  # then the header; its length and its sum are in the 12 bytes
_ALIGNED = 64
_SUMMED = 1 << 20  # bytes of an array that is summed whole
_STRIDE = 4093  # of a larger one every so many bytes, so that each page of 4096 has its say
_ABANDONED = 24 * 3600  # seconds after which nobody is still writing a scratch file


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
    scratch = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    scratch.open("xb").close()  # with the rights that the umask gives, as any other file
    rights = scratch.stat().st_mode
    try:
        yield scratch
        scratch.chmod(rights)  # a library may have put a file of its own there
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def load_arrays(kind: str, key: str) -> dict[str, np.ndarray] | None:
    """The arrays saved under (kind, key), or None if there are none that can be read.

    They are mapped from the file: only what is used is read, and processes share the memory. They
    may be written to; the file stays as it is. Sums in the header are compared first: of the header
    and of small arrays every byte, of large ones a byte a page, which is what a file cut short, a
    lost block or a foreign file would change.
    """
    path = folder() / kind / f"{key}.arrays"
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        size = int.from_bytes(mapped[len(_MAGIC) : len(_MAGIC) + 8], "little")
        header = mapped[_FRONT : _FRONT + size]
        front = mapped[:_FRONT]
        if front != _front(header):
            return None
        head = json.loads(header)
        if head["bytes"] != len(mapped):
            return None
        arrays = {}
        for name, dtype, shape, offset, total in head["arrays"]:
            flat = np.frombuffer(mapped, dtype, math.prod(shape), offset)
            if _sum(flat) != total:
                return None
            arrays[name] = flat.reshape(shape)
    except Exception:  # a missing, damaged or foreign file is a miss, whatever is raised
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # `prune` keeps what was used last
    return arrays


def save_arrays(
    kind: str, key: str, arrays: Mapping[str, np.ndarray], *, keep: int | None = None
) -> None:
    """Keep arrays under (kind, key), and of that kind no more than the `keep` used last.

    A folder that cannot be written is no error: no cache then.
    """
    path = folder() / kind / f"{key}.arrays"
    flat = {name: np.ascontiguousarray(array).reshape(-1) for name, array in arrays.items()}
    entries: list[tuple[str, str, list[int], int, int]] = []
    end = 0
    for name, array in arrays.items():
        entries.append((name, array.dtype.str, list(array.shape), end, _sum(flat[name])))
        end += -(-array.nbytes // _ALIGNED) * _ALIGNED
    # The header tells offsets from the beginning of the file, so its own length, rounded up.
    length = len(json.dumps(entries)) + 32 * (len(entries) + 4)
    begin = -(-(_FRONT + length) // _ALIGNED) * _ALIGNED
    moved = [(name, dtype, shape, at + begin, total) for name, dtype, shape, at, total in entries]
    header = json.dumps({"bytes": begin + end, "arrays": moved}).encode().ljust(begin - _FRONT)
    with contextlib.suppress(OSError):
        with written_whole(path) as scratch, scratch.open("wb") as file:
            file.write(_front(header) + header)
            for array in flat.values():
                file.write(array.data.cast("B") if array.nbytes else b"")
                file.write(bytes(-array.nbytes % _ALIGNED))
        if keep is not None:
            prune(path.parent, keep)


def prune(where: Path, keep: int) -> None:
    """Remove all but the `keep` files used last, and what a process that died left half written."""
    times = {path: path.stat().st_mtime for path in where.iterdir()}
    half = {path for path in times if path.suffix == ".part"}
    whole = sorted(times.keys() - half, key=times.__getitem__, reverse=True)
    old = [path for path in half if times[path] < time.time() - _ABANDONED]
    for path in [*whole[keep:], *old]:
        path.unlink(missing_ok=True)


def _front(header: bytes) -> bytes:
    total = zlib.crc32(header)
    return _MAGIC + len(header).to_bytes(8, "little") + total.to_bytes(4, "little")


def _sum(flat: np.ndarray) -> int:
    """CRC-32 of a contiguous 1-d array: of every byte, or of a byte a page."""
    data = flat.view(np.uint8)
    return zlib.crc32(data.data if data.size <= _SUMMED else data[::_STRIDE].tobytes())
