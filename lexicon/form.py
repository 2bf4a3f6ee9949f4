"""Forms: what a poem must satisfy, as plain frozen data.

Knows numbers and names, no words and no tokens. The validator reads a form to judge a text and
the lattice compiles it; both take every form alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SEASONS = ("spring", "summer", "autumn", "winter", "new year")
MAX_SYLLABLES = 31
MAX_LINES = 64

_KIREJI = ("off", "required", "forbidden")
_RHYME = ("off", "perfect", "identical")
_DANGLING = ("off", "forbidden", "strict")
_UNITS = ("syllables", "words")


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is unknown; use one of {', '.join(allowed)}")


@dataclass(frozen=True)
class Form:
    """The rules of one form of verse.

    lines     syllables of each line, 1 to 31 (words instead, if unit is "words")
    kigo      "off", "any", one of SEASONS, or a set of saijiki phrases of which one must occur
    kireji    "off", "required" (exactly one cut) or "forbidden" (no cut)
    rhyme     "off", "perfect" (no two lines rhyme perfectly) or
              "identical" (nor share the whole rhyme part: same word, homophones)
    dangling  "off", "forbidden" (no line ends on a function word that leaves its phrase open:
              a, of, and) or "strict" (nor on one that a sentence may close on but that in verse
              mostly leans on the next line: on, it, like)
    seasonal  a season word belongs to the form: generate() asks for one of its own accord
    free      lines are maxima: a poem may have fewer lines, and shorter ones
    """

    lines: tuple[int, ...] = (5, 7, 5)
    kigo: str | frozenset[str] = "off"
    kireji: str = "off"
    rhyme: str = "perfect"
    dangling: str = "off"
    name: str = "haiku"
    seasonal: bool = True
    unit: str = "syllables"
    free: bool = False

    def __post_init__(self) -> None:
        given: object = self.lines
        if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
            raise TypeError(f"lines={given!r} is not a sequence; write e.g. lines=(5, 7, 5)")
        lines = tuple(given)
        object.__setattr__(self, "lines", lines)
        if not lines:
            raise ValueError(
                "lines=() asks for a poem without lines; give one count a line, e.g. (5, 7, 5)"
            )
        if len(lines) > MAX_LINES:
            raise ValueError(
                f"a form has at most {MAX_LINES} lines, not {len(lines)}; split the poem"
            )
        for number, count in enumerate(lines, 1):
            if isinstance(count, bool) or not isinstance(count, int):
                raise TypeError(
                    f"line {number} asks for {count!r}; a line's count is a whole number"
                )
            if not 1 <= count <= MAX_SYLLABLES:
                raise ValueError(
                    f"line {number} asks for {count} {self.unit}; "
                    f"choose a count from 1 to {MAX_SYLLABLES}"
                )
        _one_of("kireji", self.kireji, _KIREJI)
        _one_of("rhyme", self.rhyme, _RHYME)
        _one_of("dangling", self.dangling, _DANGLING)
        _one_of("unit", self.unit, _UNITS)
        self._check_kigo()

    def _check_kigo(self) -> None:
        if isinstance(self.kigo, str):
            _one_of("kigo", self.kigo, ("off", "any", *SEASONS))
            return
        if not isinstance(self.kigo, Iterable):
            raise TypeError(
                f"kigo={self.kigo!r} is neither a name nor a set of phrases; "
                "use 'off', 'any', a season, or frozenset({'first snow'})"
            )
        phrases = tuple(self.kigo)
        for phrase in phrases:
            if not isinstance(phrase, str) or not phrase.strip():
                raise ValueError(
                    f"kigo holds {phrase!r}; give phrases of the saijiki, e.g. 'first snow'"
                )
        if not phrases:
            raise ValueError(
                "kigo is an empty set, so no word could satisfy it; use 'off' or name a phrase"
            )
        object.__setattr__(
            self,
            "kigo",
            frozenset(" ".join(p.lower().replace("\u2019", "'").split()) for p in phrases),
        )

    @classmethod
    def of(cls, *lines: int) -> Form:
        """A form with these counts and no other rule than that of rhyme."""
        return cls(lines=lines, name="-".join(str(n) for n in lines), seasonal=False)


HAIKU = Form()
SENRYU = Form(name="senryu", seasonal=False)
TANKA = Form(lines=(5, 7, 5, 7, 7), name="tanka")
CINQUAIN = Form(lines=(2, 4, 6, 8, 2), name="cinquain", seasonal=False)
LUNE = Form(lines=(5, 3, 5), name="lune", seasonal=False)
LUNE_COLLOM = Form(lines=(3, 5, 3), name="lune-collom", seasonal=False, unit="words")
LUNE_COLLUM = LUNE_COLLOM
HAIKU_353 = Form(lines=(3, 5, 3), name="3-5-3")
KATAUTA = Form(lines=(5, 7, 7), name="katauta", seasonal=False)
SEDOKA = Form(lines=(5, 7, 7, 5, 7, 7), name="sedoka", seasonal=False)
FREE = Form(lines=(17, 17, 17), name="free", free=True)

FORMS = {
    form.name: form
    for form in (
        HAIKU, SENRYU, TANKA, CINQUAIN, LUNE, LUNE_COLLOM, HAIKU_353, KATAUTA, SEDOKA, FREE,
    )
}  # fmt: skip
