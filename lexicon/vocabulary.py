"""Vocabulary: the words a poem may be written with, frozen, with their counts and sounds.

Knows words, their readings and a saijiki; no tokens and no lines. The lattice writes with it and
the validator trusts it. `Lexicon.default()` is the reviewed list that comes with the project.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from .function_words import DANGLING, LEANING
from .kigo import Saijiki
from .normalize import key_of, words
from .rhyme import Sound, sounds
from .syllables import readings

WORDS = Path(__file__).with_name("data") / "words.tsv"
MAX_COUNT = 31


class Entry(NamedTuple):
    """What is known of a word: as `Lexicon.counts`, `sounds`, `is_dangling`. leans: it dangles if
    one is strict."""

    word: str
    counts: frozenset[int]
    sounds: tuple[Sound, ...]
    dangles: bool
    leans: bool


class Lexicon:
    """Immutable. Words in display spelling, each with its syllable counts and rhyme sounds."""

    __slots__ = ("_counts", "_dangling", "_display", "_hash", "_sounds", "saijiki", "words")

    words: tuple[str, ...]
    saijiki: Saijiki
    _display: dict[str, str]
    _counts: dict[str, frozenset[int]]
    _sounds: dict[str, tuple[Sound, ...]]
    _dangling: frozenset[str]
    _hash: list[str]

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
        self._fill(by_key, dict(counts or {}), dict(sounds or {}), saijiki, dangling)

    def _fill(
        self,
        display: dict[str, str],
        counts: dict[str, frozenset[int]],
        sounds: dict[str, tuple[Sound, ...]],
        saijiki: Saijiki | None,
        dangling: Iterable[str],
    ) -> None:
        values = {
            "_display": display,
            "_counts": counts,  # what is not in it yet is looked up when asked for
            "_sounds": sounds,
            "_dangling": frozenset(dangling),
            "_hash": [],
            "saijiki": Saijiki.default() if saijiki is None else saijiki,
            "words": tuple(sorted(display.values())),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Lexicon never changes (set {name}); make another: .with_words()")

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
        heard = {_key(word): tuple(given) for word, given in (sounds or {}).items()}
        return cls(names, counts, heard, saijiki, dangling)

    @classmethod
    def from_rows(cls, text: str, *, saijiki: Saijiki | None = None) -> Lexicon:
        """A lexicon out of lines as rows() writes them, trusted as they stand."""
        display: dict[str, str] = {}
        counts: dict[str, frozenset[int]] = {}
        sounds: dict[str, tuple[Sound, ...]] = {}
        dangling = []
        sets: dict[str, frozenset[int]] = {}
        for line in text.splitlines():
            word, numbers, heard, flag = line.split("\t")
            key = word.lower()
            display[key] = word
            if numbers not in sets:
                sets[numbers] = frozenset(map(int, numbers.split(",")))
            counts[key] = sets[numbers]
            sounds[key] = tuple(_sound(cell) for cell in heard.split(";") if cell)
            if flag == "1":
                dangling.append(key)
        lexicon = cls.__new__(cls)
        lexicon._fill(display, counts, sounds, saijiki, dangling)
        return lexicon

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
        names, given = _given(add)
        changed = {_key(name) for name in names}
        for word in remove:
            if _key(word) not in self._display:
                raise ValueError(f"{word!r} is not in the lexicon; leave it out of remove")
            changed.add(_key(word))
        display = [word for key, word in self._display.items() if key not in changed]
        counts = {key: found for key, found in self._counts.items() if key not in changed}
        sounds = {key: found for key, found in self._sounds.items() if key not in changed}
        return Lexicon(
            display + names, {**counts, **given}, sounds, saijiki or self.saijiki, self._dangling
        )

    def entries(self) -> Iterator[Entry]:
        """All that is known of every word, in the order of `words`: faster than word by word."""
        keys = {word: key for key, word in self._display.items()}
        for word in self.words:
            key = keys[word]
            yield Entry(
                word,
                self._counts.get(key) or self.counts(word),
                self._sounds[key] if key in self._sounds else self.sounds(word),
                self._dangles(key),
                key in LEANING,
            )

    def counts(self, word: str) -> frozenset[int]:
        """The syllable counts of one of its words."""
        key = _key(word)
        found = self._counts.get(key)
        if found is None:
            found = frozenset(r.count for r in readings(self._written(key)))
            self._counts[key] = found
        return found

    def sounds(self, word: str) -> tuple[Sound, ...]:
        """(rhyme part, onset) of each distinct reading of one of its words."""
        key = _key(word)
        found = self._sounds.get(key)
        if found is None:
            found = sounds(self._written(key))
            self._sounds[key] = found
        return found

    def is_dangling(self, word: str, *, strict: bool = False) -> bool:
        """Whether a line had better not end on this word (a, the, of, ...).

        strict: nor on a word that mostly leans on the next line (on, it, like, ...)."""
        key = _key(word)
        return self._dangles(key) or (strict and key in LEANING)

    def _dangles(self, key: str) -> bool:
        return key in self._dangling or key.endswith("'s")

    def _written(self, key: str) -> str:
        if key not in self._display:
            raise KeyError(f"{key!r} is not in the lexicon; add it: lexicon.with_words([{key!r}])")
        return self._display[key]

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

    def rows(self) -> Iterator[str]:
        """One line a word, as in data/words.tsv: word, counts, sounds, whether it dangles."""
        for entry in self.entries():
            counts = ",".join(map(str, sorted(entry.counts)))
            heard = ";".join(f"{part}/{onset}" for part, onset in sorted(entry.sounds))
            yield f"{entry.word}\t{counts}\t{heard}\t{entry.dangles:d}\n"

    @property
    def content_hash(self) -> str:
        """SHA-256 in hex; changes if and only if words, counts, sounds, dangling or saijiki do."""
        if not self._hash:
            self._hash.append(_hash_of("".join(self.rows()), self.saijiki))
        return self._hash[0]


def _hash_of(rows: str, saijiki: Saijiki) -> str:
    digest = hashlib.sha256(rows.encode())
    digest.update(saijiki.content_hash.encode())
    return digest.hexdigest()


@cache
def _sound(cell: str) -> Sound:
    part, onset = cell.split("/")
    return part, onset


def _key(word: str) -> str:
    if not isinstance(word, str):
        raise TypeError(f"a word is a str, not {type(word).__name__}")
    if word.isascii() and word.isalpha():
        return word.lower()
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
    text = WORDS.read_text(encoding="utf-8")
    lexicon = Lexicon.from_rows(text)
    lexicon._hash.append(_hash_of(text, lexicon.saijiki))  # the file is what rows() writes
    return lexicon


def compile_words(path: Path = WORDS) -> Lexicon:
    """Look up every word of data/words.tsv (its first column) again and rewrite the file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    lexicon = Lexicon(line.split("\t")[0] for line in lines)
    path.write_text("".join(lexicon.rows()), encoding="utf-8")
    return lexicon


if __name__ == "__main__":
    print(compile_words())
