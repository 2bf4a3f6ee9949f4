"""Vocabulary: the words a poem may be written with, frozen, with their counts and sounds.

Knows words, their readings and a saijiki; no tokens and no lines. The lattice writes with it and
the validator trusts it. `Lexicon.default()` is the reviewed list that comes with the project.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from .function_words import DANGLING
from .kigo import Saijiki
from .normalize import key_of, words
from .rhyme import Sound, sounds_of
from .syllables import Reading, readings

WORDS = Path(__file__).with_name("data") / "words.txt"
MAX_COUNT = 31


class Lexicon:
    """Immutable. Words in display spelling, each with its syllable counts and rhyme sounds."""

    __slots__ = (
        "_counts",
        "_dangling",
        "_display",
        "_given",
        "_hash",
        "_sounds",
        "saijiki",
        "words",
    )

    words: tuple[str, ...]
    saijiki: Saijiki

    def __init__(
        self,
        display: Iterable[str],
        counts: Mapping[str, frozenset[int]] | None = None,
        sounds: Mapping[str, tuple[Sound, ...]] | None = None,
        saijiki: Saijiki | None = None,
        dangling: Iterable[str] = DANGLING,
    ) -> None:
        by_key: dict[str, str] = {}
        for word in display:
            key = _key(word)
            if by_key.setdefault(key, word) != word:
                raise ValueError(
                    f"{word!r} and {by_key[key]!r} are the same word in two spellings; keep one"
                )
        self._display = by_key
        self.words = tuple(sorted(by_key.values()))
        self._given = MappingProxyType(dict(counts or {}))
        self._counts: dict[str, frozenset[int]] = dict(self._given)
        self._sounds: dict[str, tuple[Sound, ...]] = dict(sounds or {})
        self._dangling = frozenset(dangling)
        self.saijiki = Saijiki.default() if saijiki is None else saijiki
        self._hash: str | None = None

    def __setattr__(self, name: str, value: object) -> None:
        if name != "_hash" and hasattr(self, "_hash"):
            raise AttributeError(
                f"a Lexicon never changes; make another: .with_words() (set {name})"
            )
        object.__setattr__(self, name, value)

    @classmethod
    def default(cls) -> Lexicon:
        """The reviewed words that come with the project, with the saijiki that comes with it."""
        return _default()

    @classmethod
    def from_words(
        cls,
        words: Mapping[str, int | Iterable[int]] | Iterable[str],
        *,
        saijiki: Saijiki | None = None,
        sounds: Mapping[str, Iterable[Sound]] | None = None,
        dangling: Iterable[str] = DANGLING,
    ) -> Lexicon:
        """A lexicon of these words alone. Counts and sounds not given are looked up.

        >>> Lexicon.from_words({"frog": {1}, "fire": {1, 2}}).counts("fire") == {1, 2}
        True
        """
        names, counts = _given(words)
        heard = {_key(w): tuple(s) for w, s in (sounds or {}).items()}
        return cls(names, counts, heard, saijiki, dangling)

    def with_words(
        self,
        add: Mapping[str, int | Iterable[int]] | Iterable[str] = (),
        remove: Iterable[str] = (),
        *,
        saijiki: Saijiki | None = None,
    ) -> Lexicon:
        """Another lexicon with some words added (a mapping gives their counts) or removed."""
        if isinstance(remove, str):
            raise TypeError(f"remove={remove!r} is one str; give a list of words: [{remove!r}]")
        names, counts = _given(add)
        gone = set()
        for word in remove:
            key = _key(word)
            if key not in self._display:
                raise ValueError(
                    f"{word!r} is not in the lexicon, so it cannot be removed; drop it"
                )
            gone.add(key)
        new = {_key(name) for name in names}
        display = [w for k, w in self._display.items() if k not in gone and k not in new] + names
        given = {k: c for k, c in self._given.items() if k not in gone and k not in new}
        heard = {k: s for k, s in self._sounds.items() if k in self._given and k not in gone | new}
        return Lexicon(display, {**given, **counts}, heard, saijiki or self.saijiki, self._dangling)

    def counts(self, word: str) -> frozenset[int]:
        """The syllable counts of one of its words."""
        key = _key(word)
        found = self._counts.get(key)
        if found is None:
            found = frozenset(r.count for r in self._readings(key))
            self._counts[key] = found
        return found

    def sounds(self, word: str) -> tuple[Sound, ...]:
        """(rhyme part, onset) of each distinct reading of one of its words."""
        key = _key(word)
        found = self._sounds.get(key)
        if found is None:
            if key in self._display:
                found = sounds_of(r.phones for r in readings(self._display[key]) if r.phones)
            else:
                self._readings(key)
                found = ()
            self._sounds[key] = found
        return found

    def is_dangling(self, word: str) -> bool:
        """Whether a line had better not end on this word (a, the, of, ...)."""
        return _key(word) in self._dangling

    def _readings(self, key: str) -> tuple[Reading, ...]:
        if key not in self._display:
            raise KeyError(f"{key!r} is not in the lexicon; add it: lexicon.with_words([{key!r}])")
        return readings(self._display[key])

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and _key(word) in self._display

    def __len__(self) -> int:
        return len(self.words)

    def __repr__(self) -> str:
        return f"<Lexicon of {len(self.words):,} words, {len(self.saijiki.entries):,} kigo>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lexicon) and self.content_hash == other.content_hash

    def __hash__(self) -> int:
        return hash(self.content_hash)

    @property
    def content_hash(self) -> str:
        """SHA-256 in hex; changes if and only if words, counts, sounds, dangling or saijiki do."""
        if self._hash is None:
            digest = hashlib.sha256()
            for word in self.words:
                counts = ",".join(map(str, sorted(self.counts(word))))
                heard = ";".join(sorted(f"{p}/{o}" for p, o in self.sounds(word)))
                digest.update(f"{word}\t{counts}\t{heard}\t{self.is_dangling(word):d}\n".encode())
            digest.update(self.saijiki.content_hash.encode())
            self._hash = digest.hexdigest()
        return self._hash


def _key(word: str) -> str:
    if not isinstance(word, str):
        raise TypeError(f"a word is a str, not {type(word).__name__}")
    return key_of(word)


def _given(
    given: Mapping[str, int | Iterable[int]] | Iterable[str],
) -> tuple[list[str], dict[str, frozenset[int]]]:
    """Names and counts of words given by hand, checked."""
    if isinstance(given, str):
        raise TypeError(f"{given!r} is one str; give a list of words, or a mapping word -> counts")
    counts: dict[str, frozenset[int]] = {}
    names = list(given)
    for name in names:
        found = words(name) if isinstance(name, str) else []
        if len(found) != 1 or found[0].text != name:
            raise ValueError(
                f"{name!r} is not one written word; give words without spaces and outer marks"
            )
        if isinstance(given, Mapping):
            value = given[name]
            several = frozenset({value} if isinstance(value, int) else value)
            if not several or not all(
                isinstance(c, int) and not isinstance(c, bool) and 1 <= c <= MAX_COUNT
                for c in several
            ):
                raise ValueError(
                    f"{name!r} has counts {value!r}; give whole numbers from 1 to {MAX_COUNT}"
                )
            counts[_key(name)] = several
        elif not readings(name):
            raise ValueError(f"{name!r} cannot be counted; give its syllables: {{{name!r}: 2}}")
    return names, counts


@lru_cache(maxsize=1)
def _default() -> Lexicon:
    return Lexicon(WORDS.read_text(encoding="utf-8").split())
