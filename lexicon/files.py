"""Files that users write by hand: read whole, if they have an end.

Knows paths and bytes, no formats. user_words.py and kigo.py read with it.
"""

from __future__ import annotations

from pathlib import Path

LARGEST = 100_000_000  # bytes


def read_whole(path: Path) -> bytes:
    """What is in a file that someone wrote by hand; ValueError if it has no end."""
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"{path} is over {LARGEST // 10**6} MB; give a file of words, a line each")
    return data
