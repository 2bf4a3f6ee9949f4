"""Kigo: the season words of a poem, found by phrase.

Knows the saijiki (data/kigo.tsv) and how a phrase varies (plural, possessive); counts nothing.
The validator finds kigo with it and the lattice compiles the same entries and the same rule.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from .files import read_whole
from .form import SEASONS
from .inflection import variants
from .normalize import Word, key_of, words

DATA = Path(__file__).with_name("data") / "kigo.tsv"
COLUMNS = ("phrase", "season", "phase", "category", "note")
NOT_A_KIGO = "none"
PHASES = ("early", "mid", "late", "all")
CATEGORIES = (
    "season", "heavens", "earth", "humanity", "observances", "animals", "plants",
)  # fmt: skip
_ALLOWED = {"season": (*SEASONS, NOT_A_KIGO), "phase": PHASES, "category": (*CATEGORIES, "")}
_ALSO_CALLED = {"fall": "autumn", "newyear": "new year", "new-year": "new year", "": "none"}
_LINE_END = re.compile("\r\n|[\r\n]")

Keys = tuple[str, ...]


def keys(word: str) -> Keys:
    """The keys of one written word: lower case, hyphenate split, possessive stripped.

    >>> keys("Snow-covered"), keys("autumn\u2019s"), keys("birds'")
    (('snow', 'covered'), ('autumn',), ('birds',))
    """
    if word.isascii() and word.isalpha():
        return (word.lower(),)
    parts = []
    for part in re.split(r"[-/\u2010\u2011]+", key_of(word)):
        if part.endswith("'s") and len(part) > 2:
            part = part[:-2]
        part = part.strip("'")
        if any(c.isalnum() for c in part):
            parts.append(part)
    return tuple(parts)


def phrase_keys(phrase: str) -> Keys:
    """The keys of all words of a phrase in a row, as the saijiki files it."""
    return tuple(key for word in phrase.split() for key in keys(word))


def satisfies(rule: str | frozenset[str], seasons: frozenset[str], *names: Keys) -> bool:
    """Does a season word with these seasons, known by these keys, meet a form's kigo rule?

    rule: as `Form.kigo`; names: the phrase of the saijiki and the variant as written.
    """
    if rule == "off":
        return True
    if rule == "any":
        return bool(seasons)
    if isinstance(rule, str):
        return rule in seasons
    return bool(seasons) and not {phrase_keys(phrase) for phrase in rule}.isdisjoint(names)


@dataclass(frozen=True)
class Row:
    """One row of a saijiki: a phrase in one season (`none`: explicitly not a kigo)."""

    phrase: str
    season: str
    phase: str = "all"
    category: str = ""
    note: str = ""


@dataclass(frozen=True)
class Kigo:
    """One season word found in a text."""

    phrase: str
    seasons: frozenset[str]
    start: int
    end: int
    line: int
    text: str = ""
    phase: str = "all"
    category: str = ""
    note: str = ""

    @property
    def season(self) -> str:
        """The season, several joined by "/" in the order of the year."""
        return "/".join(s for s in SEASONS if s in self.seasons)

    def answers(self, rule: str | frozenset[str]) -> bool:
        """Whether this season word meets a form's kigo rule."""
        return satisfies(rule, self.seasons, phrase_keys(self.phrase), phrase_keys(self.text))


@dataclass(frozen=True)
class Saijiki:
    """A dictionary of season words: rows, and entries (key words -> seasons) derived from them."""

    rows: tuple[Row, ...]
    entries: Mapping[Keys, frozenset[str]] = field(init=False, repr=False, compare=False)
    phrases: Mapping[Keys, str] = field(init=False, repr=False, compare=False)
    longest: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        entries: dict[Keys, set[str]] = {}
        phrases: dict[Keys, str] = {}
        for row in self.rows:
            own = phrase_keys(_checked(row, "saijiki").phrase)
            seasons = entries.setdefault(own, set())
            phrases.setdefault(own, row.phrase)
            if row.season != NOT_A_KIGO:
                seasons.add(row.season)
        original = {own: frozenset(seasons) for own, seasons in entries.items()}
        derived: dict[Keys, frozenset[str]] = dict(original)
        # "none" first: what is not a kigo in one number is not one in the other.
        for blocked in (True, False):
            for own, named in original.items():
                if bool(named) == blocked:
                    continue
                for other in variants(own):
                    if other not in original and (other not in derived or blocked):
                        derived[other] = named
                        phrases[other] = phrases[own]
                    elif other not in original and derived[other] and named:
                        derived[other] |= named
        object.__setattr__(self, "entries", MappingProxyType(derived))
        object.__setattr__(self, "phrases", MappingProxyType(phrases))
        object.__setattr__(self, "longest", max(map(len, derived), default=0))

    @property
    def content_hash(self) -> str:
        """SHA-256 in hex; changes if and only if the entries do."""
        known = self.__dict__.get("_hash")
        if known is None:
            lines = sorted(f"{' '.join(k)}\t{'/'.join(sorted(s))}" for k, s in self.entries.items())
            known = hashlib.sha256("\n".join(lines).encode()).hexdigest()
            self.__dict__["_hash"] = known
        return known

    @classmethod
    def default(cls) -> Saijiki:
        """The saijiki that comes with the project."""
        return _default()

    @classmethod
    def from_files(cls, *paths: str | Path, base: Saijiki | None = None) -> Saijiki:
        """Read saijiki files (columns as COLUMNS, tabs between) after the rows of `base`."""
        rows = list(base.rows) if base is not None else []
        for path in paths:
            rows.extend(read_rows(Path(path)))
        return cls(tuple(rows))

    @classmethod
    def from_phrases(cls, phrases: Mapping[str, str | Iterable[str]]) -> Saijiki:
        """A saijiki of a few phrases: {"first snow": "winter", "hot spring": "none"}."""
        rows: list[Row] = []
        for phrase, named in phrases.items():
            seasons = (named,) if isinstance(named, str) else tuple(named) or (NOT_A_KIGO,)
            rows.extend(_checked(Row(phrase, season), "from_phrases") for season in seasons)
        return cls(tuple(rows))

    def of_season(self, season: str) -> dict[Keys, frozenset[str]]:
        """The entries of one season ("any": of every season)."""
        if season != "any" and season not in SEASONS:
            raise ValueError(f"season {season!r} is unknown; use any, {', '.join(SEASONS)}")
        return {k: s for k, s in self.entries.items() if s and (season == "any" or season in s)}

    def find(self, phrase: str) -> Keys | None:
        """The keys of a phrase if it is a kigo of this saijiki, else None."""
        own = phrase_keys(phrase)
        return own if self.entries.get(own) else None

    @property
    def by_first(self) -> Mapping[str, tuple[Keys, ...]]:
        """First key -> the entries that start with it, longest first."""
        index = self.__dict__.get("_by_first")
        if index is None:
            build: dict[str, list[Keys]] = {}
            for own in self.entries:
                build.setdefault(own[0], []).append(own)
            index = {
                first: tuple(sorted(all_, key=len, reverse=True)) for first, all_ in build.items()
            }
            self.__dict__["_by_first"] = index
        return index

    def row(self, own: Keys) -> Row | None:
        """The first row of the phrase these keys belong to."""
        index = self.__dict__.get("_rows")
        if index is None:
            index = {}
            for row in self.rows:
                index.setdefault(row.phrase, row)
            self.__dict__["_rows"] = index
        return index.get(self.phrases.get(own, ""))

    def __hash__(self) -> int:
        return hash(self.content_hash)


def _checked(row: Row, where: str) -> Row:
    """The row as it is, or a ValueError of one line that says where and what to write instead."""
    if not any(c.isalnum() for c in row.phrase):
        raise ValueError(f"{where}: {row.phrase!r} is no phrase; fill the first column with words")
    for column, values in _ALLOWED.items():
        value = getattr(row, column)
        if value not in values:
            hint = _ALSO_CALLED.get(value.lower(), "")
            raise ValueError(
                f"{where}: {column} {value!r} of {row.phrase!r} is unknown; "
                + (f"write {hint}" if hint else f"use one of {', '.join(v for v in values if v)}")
            )
    return row


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of one saijiki file; a ValueError names the line that is wrong and the cure."""
    try:
        text = read_whole(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path.name} is not UTF-8 text (byte {error.start}); save it as UTF-8, tab-separated"
        ) from None
    if "\0" in text:
        raise ValueError(f"{path.name} is not a text file; write phrase, tab, season, one a line")
    for number, line in enumerate(_LINE_END.split(text), 1):
        where = f"{path.name} line {number}"
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if [cell.lower() for cell in cells[:2]] == list(COLUMNS[:2]):
            continue
        if len(cells) < 2:
            shown = line if len(line) < 60 else line[:57] + "..."
            raise ValueError(
                f"{where}: {shown!r} has one column; separate phrase and season by a tab"
            )
        if any(cells[len(COLUMNS) :]):
            raise ValueError(
                f"{where}: {len(cells)} columns; write at most {len(COLUMNS)}: {', '.join(COLUMNS)}"
            )
        phrase = " ".join(cells[0].lower().replace("\u2019", "'").split())
        season, phase, category, note = (*cells[1 : len(COLUMNS)], "", "", "", "")[:4]
        yield _checked(
            Row(phrase, season.lower(), phase.lower() or "all", category.lower(), note), where
        )


@lru_cache(maxsize=1)
def _default() -> Saijiki:
    return Saijiki.from_files(DATA)


def find_kigo(
    text: str, saijiki: Saijiki | None = None, found: list[Word] | None = None
) -> list[Kigo]:
    """The season words of a text, in order, longest phrase first at each place.

    >>> [(k.phrase, k.season) for k in find_kigo("first snow\\non the hot spring")]
    [('first snow', 'winter')]
    """
    if not isinstance(text, str):
        raise TypeError(f"find_kigo reads a str, not {type(text).__name__}; decode bytes first")
    book = Saijiki.default() if saijiki is None else saijiki
    found = words(text) if found is None else found
    result: list[Kigo] = []
    run: list[tuple[str, Word]] = []
    for word in found:
        if not word.gap:
            result.extend(_scan(run, text, book))
            run = []
        run.extend((key, word) for key in keys(word.key))
    result.extend(_scan(run, text, book))
    return result


def _scan(run: list[tuple[str, Word]], text: str, book: Saijiki) -> Iterator[Kigo]:
    sequence = tuple(key for key, _ in run)
    index = book.by_first
    at = 0
    while at < len(sequence):
        match: Keys | None = None
        for own in index.get(sequence[at], ()):
            if sequence[at : at + len(own)] == own:
                match = own
                break
        if match is None:
            at += 1
            continue
        seasons = book.entries[match]
        if seasons:
            first, final = run[at][1], run[at + len(match) - 1][1]
            row = book.row(match)
            yield Kigo(
                phrase=book.phrases[match],
                seasons=seasons,
                start=first.start,
                end=final.end,
                line=first.line,
                text=text[first.start : final.end],
                phase=row.phase if row else "all",
                category=row.category if row else "",
                note=row.note if row else "",
            )
        at += len(match)
