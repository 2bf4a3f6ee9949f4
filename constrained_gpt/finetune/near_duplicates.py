"""Is a poem nearly one that came before? MinHash over pairs of words, kept on disk when it grows.

Two poems are near-duplicates if the Jaccard index of their sets of adjacent words reaches a
threshold. Candidates share one of several bands of a MinHash signature (Broder, SEQUENCES 1997;
banding as in Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4) and are then
compared in full. Knows word keys; no file format, no model. Called by `prepare`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

BANDS, ROWS = 12, 3  # half of the pairs at Jaccard 0.4 become candidates, 0.996 of those at 0.7
THRESHOLD = 0.7
_PRIME = (1 << 31) - 1


class NearDuplicates:
    """The poems so far. Memory stays bounded: sqlite moves what is too much to a temporary file."""

    def __init__(self, threshold: float = THRESHOLD) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold={threshold} is not in (0, 1]; use e.g. {THRESHOLD}")
        self.threshold = threshold
        generator = np.random.default_rng(20240229)
        self._a = generator.integers(1, _PRIME, BANDS * ROWS, dtype=np.int64)
        self._b = generator.integers(0, _PRIME, BANDS * ROWS, dtype=np.int64)
        self._base = sqlite3.connect("", isolation_level=None)  # a temporary database
        self._base.execute("PRAGMA journal_mode = OFF")
        self._base.execute("PRAGMA synchronous = OFF")
        self._base.execute("PRAGMA cache_size = -65536")  # KiB
        self._base.execute("CREATE TABLE poem (id INTEGER PRIMARY KEY, shingles BLOB)")
        self._base.execute("CREATE TABLE band (key INTEGER, id INTEGER)")
        self._base.execute("CREATE INDEX by_key ON band (key)")
        self._base.execute("BEGIN")
        self._count = 0

    def seen(self, words: Sequence[str]) -> bool:
        """Is this poem, as word keys, close to one of those before? If not, it joins them."""
        shingles = _shingles(words)
        keys = self._keys(shingles)
        mine = frozenset(shingles.tolist())
        marks = ",".join("?" * len(keys))
        found = self._base.execute(
            f"SELECT DISTINCT shingles FROM band JOIN poem USING (id) WHERE key IN ({marks})", keys
        )
        for (blob,) in found:
            other = frozenset(np.frombuffer(blob, np.int32).tolist())
            if len(mine & other) >= self.threshold * len(mine | other):
                return True
        self._count += 1
        self._base.execute("INSERT INTO poem VALUES (?, ?)", (self._count, shingles.tobytes()))
        self._base.executemany(
            "INSERT INTO band VALUES (?, ?)", [(key, self._count) for key in keys]
        )
        return False

    def close(self) -> None:
        """Give the disk space back."""
        self._base.close()

    def _keys(self, shingles: np.ndarray) -> list[int]:
        values = (shingles.astype(np.int64)[:, None] * self._a + self._b) % _PRIME  # (S, 36)
        signature = values.min(axis=0).reshape(BANDS, ROWS)
        return [
            int.from_bytes(_digest(bytes([band]) + row.tobytes(), 8), "little", signed=True)
            for band, row in enumerate(signature)
        ]


def _shingles(words: Sequence[str]) -> np.ndarray:
    """Hashes of adjacent pairs of words, of the word itself where there is but one: int32 (S,)."""
    pairs = [f"{words[i]} {words[i + 1]}" for i in range(len(words) - 1)] or [" ".join(words)]
    hashed = {int.from_bytes(_digest(pair.encode(), 4), "little") % _PRIME for pair in pairs}
    return np.array(sorted(hashed), np.int32)


def _digest(data: bytes, size: int) -> bytes:
    return blake2b(data, digest_size=size).digest()
