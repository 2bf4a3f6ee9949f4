"""What is in a large file, by SHA-256, read through once and then remembered.

A file is taken for the one that was hashed while its path, number (inode), size and times of change
are what they were, as git takes it: a write moves the times, and where `touch` sets one back the
other (ctime) still moves. Knows no format. Called by `int8_weights`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path

from . import cache

_SETTLED = 2 * 10**9  # ns; a file that changed more lately could change again unseen
_KIND = "hash"
_KEPT = 64  # files remembered


def file_hash(path: Path) -> str:
    """SHA-256 in hex of a file's content. OSError where it cannot be read."""
    path = path.resolve()
    note = cache.folder() / _KIND / (hashlib.sha256(os.fsencode(path)).hexdigest() + ".json")
    seen = file_seen(path)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(note.read_text("utf-8"))
        if known["seen"] == seen and isinstance(known["sha256"], str):
            return str(known["sha256"])
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    found = digest.hexdigest()
    settled = time.time_ns() - max(seen[-2:]) > _SETTLED
    if settled and file_seen(path) == seen:
        record = json.dumps({"seen": seen, "sha256": found})
        with contextlib.suppress(OSError):
            with cache.written_whole(note) as scratch:
                scratch.write_text(record, "utf-8")
            cache.prune(note.parent, _KEPT)
    return found


def file_seen(path: Path) -> list[int]:
    """What changes with a file: device, inode, size, mtime and ctime in ns."""
    stat = path.stat()
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
