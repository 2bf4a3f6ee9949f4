"""User words: readings that the user of the validator sets, from a file or a mapping.

Knows the layout of such files; counts nothing. They go before every other source: whoever says
"fire" in one syllable says so here. The validator and the command line call it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from .files import read_whole
from .form import MAX_SYLLABLES
from .normalize import key_of, words
from .pronunciations import Phones, vowels
from .rhyme import Sound, sounds_of

_PHONE = re.compile(
    "(?:AA|AE|AH|AO|AW|AY|EH|ER|EY|IH|IY|OW|OY|UH|UW)[012]"
    "|B|CH|D|DH|F|G|HH|JH|K|L|M|N|NG|P|R|S|SH|T|TH|V|W|Y|Z|ZH"
)
_COUNTS = re.compile(r"[0-9]+(?:\s*,\s*[0-9]+)*")
_VARIANT = re.compile(r"\(\d+\)$")
_COMMENT = re.compile(r"(?:^|\s)(?:#|;;;).*")  # but c# is a word


class UserWords:
    """Words with the counts, or the pronunciations, that their user gives them.

    A word is set as it is written, in any case and with or without accents: what is said of Basho
    holds for BASHŌ, and neither for Basho's nor for a compound such as Basho-like.

    >>> own = UserWords({"fire": [1], "Issa": "IH1 S AH0"})
    >>> own.counts("fire"), own.counts("issa"), own.counts("issa's")
    ((1,), (2,), ())
    """

    def __init__(self, words: Mapping[str, str | int | Iterable[int]] = {}) -> None:
        given: object = words
        if not isinstance(given, Mapping):
            raise TypeError(f"words={given!r} is no mapping; write e.g. {{'fire': 1}}")
        self._counts: dict[str, tuple[int, ...]] = {}
        self._phones: dict[str, tuple[Phones, ...]] = {}
        for word, said in words.items():
            self.add(word, said)

    def __len__(self) -> int:
        return len(self._counts)

    def counts(self, key: str) -> tuple[int, ...]:
        """The counts of a plain key (normalize.key_of), the usual one first; () if not here."""
        return self._counts.get(key, ())

    def sounds(self, key: str) -> tuple[Sound, ...]:
        """Its (rhyme part, onset) pairs; () if no pronunciation was given."""
        return sounds_of(self._phones.get(key, ()))

    def add(self, word: str, said: str | int | Iterable[int]) -> None:
        """One more reading of a word: a count, several, or ARPAbet phones as CMUdict writes them.

        Raises ValueError for anything else.
        """
        key = _key(word)
        if isinstance(said, str) and not said[:1].isdigit():
            phones = tuple(said.upper().split())
            if (
                not phones
                or not all(map(_PHONE.fullmatch, phones))
                or vowels(phones) > MAX_SYLLABLES
            ):
                raise ValueError(
                    f"{word!r} is said {said!r}; give a count (2), several (2,3) or phones with "
                    "stress marks (B AH0 SH OW1)"
                )
            self._phones[key] = (*self._phones.get(key, ()), phones)
            given: tuple[int, ...] = (vowels(phones),)
        else:
            given = _counts(word, said)
        self._counts[key] = tuple(dict.fromkeys((*self._counts.get(key, ()), *given)))

    @classmethod
    def load(cls, path: str | Path) -> UserWords:
        """The words of a file: a line each, the word, then a count, several, or its phones.

        CMUdict's own layout is read too. What follows `#` or `;;;` is a comment. A repeated word
        adds a reading. Raises ValueError naming the line that cannot be read, OSError if there is
        no file.
        """
        try:
            text = read_whole(Path(path)).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} is not UTF-8 text (byte {error.start}); write a word and its syllables on "
                "each line"
            ) from None
        own = cls()
        for number, line in enumerate(text.splitlines(), 1):
            cells = _COMMENT.sub("", line).split(None, 1)
            if not cells:
                continue
            if len(cells) < 2:
                raise ValueError(
                    f"{path} line {number} has a word and no syllables; write e.g. `{cells[0]} 2`"
                )
            try:
                own.add(_VARIANT.sub("", cells[0]), cells[1].strip())
            except ValueError as error:
                raise ValueError(f"{path} line {number}: {error}") from None
        return own


def _key(word: object) -> str:
    """The key a word has in a text, marks around it left out."""
    if not isinstance(word, str):
        raise TypeError(f"{word!r} is no word but {type(word).__name__}; give a str")
    found = words(word)
    if len(found) == 1:
        return found[0].key
    key = key_of(word.strip())
    if not found or "." not in key or len(key.split()) != 1:  # a.'s: CMUdict has it
        raise ValueError(f"{word!r} is no single word; give one word, then its syllables")
    return key


def _counts(word: str, said: str | int | Iterable[int]) -> tuple[int, ...]:
    try:
        if isinstance(said, str):
            given = tuple(map(int, said.split(","))) if _COUNTS.fullmatch(said.strip()) else ()
        elif isinstance(said, Iterable):
            given = tuple(map(operator.index, said))
        else:
            given = (operator.index(said),)
        if given and not isinstance(said, bool) and all(0 <= n <= MAX_SYLLABLES for n in given):
            return given
    except (TypeError, ValueError):
        pass
    shown = repr(said)
    shown = shown if len(shown) < 60 else shown[:57] + "..."
    raise ValueError(
        f"{word!r} has {shown} syllables; give a number from 0 to {MAX_SYLLABLES}, or several with "
        "commas between: 1,2"
    )
