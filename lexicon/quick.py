"""Quick: whether a text fits a form, and nothing else, at tens of thousands of poems a second.

Knows the readings of written chunks (what stands between two spaces), each analysed once and kept.
Agrees with judge.py on every text; forms it cannot judge it leaves to it. validator.py calls it.
"""

from __future__ import annotations

import re

from .context import hinted
from .form import Form
from .normalize import words
from .rhyme import Sound, compare, sounds
from .syllables import readings, syllables

MAX_CHUNK = 64
MEMO_LIMIT = 100_000

_ASK = -2  # in place of a count: its neighbours decide, count the line as a whole

# A chunk: its count if it has but one, else -1; all its counts; the usual one; its last word.
Chunk = tuple[int, tuple[int, ...], int, "str | None"]
# The last word of a line: its key, its sounds, their rhyme parts.
End = tuple[str, tuple[Sound, ...], frozenset[str]]

_LINE_END = re.compile("\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]")
_PLAIN = re.compile(r"[\n\x20-\x7e]*\Z")
_memo: dict[str, Chunk] = {}
_ends: dict[str, End] = {}


def can_judge(form: Form) -> bool:
    """Whether a form has no other rules than counts and rhyme."""
    return (
        form.kigo == "off"
        and form.kireji == "off"
        and form.dangling == "off"
        and form.unit == "syllables"
        and not form.free
    )


def _counted(text: str) -> tuple[int, int, str | None]:
    """The bits of a text's counts, the usual one and the last word."""
    bits, usual, last = 1, 0, None
    for word in words(text):
        said = word.said or word.text
        shifted = 0
        for count in syllables(said):
            shifted |= bits << count
        bits = shifted
        if not bits:
            break
        usual += readings(said)[0].count
        last = word.text
    return bits, usual, last


def _analyse(chunk: str) -> Chunk:
    """Count what stands between two spaces: usually one word, with its marks."""
    bits, usual, last = _counted(chunk)
    counts = tuple(n for n in range(bits.bit_length()) if bits >> n & 1)
    result: Chunk = (counts[0] if len(counts) == 1 else -1, counts, usual, last)
    if hinted(chunk):
        result = (_ASK, *result[1:])
    if len(chunk) <= MAX_CHUNK:
        if len(_memo) > MEMO_LIMIT:
            _memo.clear()
        _memo[chunk] = result
    return result


def _end(word: str) -> End:
    """How a written word rhymes, kept."""
    heard = sounds(word)
    alone = words(word)  # a sign of money is no word but after a figure
    end = (alone[0].key if alone else word, heard, frozenset(part for part, _ in heard))
    if len(_ends) > MEMO_LIMIT:
        _ends.clear()
    _ends[word] = end
    return end


def _rhyme(a: str, b: str) -> str | None:
    """How two written words rhyme. Most pairs share no rhyme part, which is seen at once."""
    one, two = _ends.get(a) or _end(a), _ends.get(b) or _end(b)
    same = "identical" if one[0] == two[0] else None
    return same if one[2].isdisjoint(two[2]) else compare(one[1], two[1]) or same


def verdict(text: str, form: Form, policy: str) -> bool:
    """Whether the text satisfies a form that can_judge() accepts."""
    lines = text.split("\n") if _PLAIN.match(text) else _LINE_END.split(text)
    while lines and not lines[-1].strip():
        lines.pop()
    first = 0
    while first < len(lines) and not lines[first].strip():
        first += 1
    lines = lines[first:]
    targets = form.lines
    if len(lines) != len(targets):
        return False
    get = _memo.get
    ends: list[str] = []
    for line, target in zip(lines, targets, strict=True):
        bits, usual, last = 1, 0, None
        for chunk in line.split():
            known = get(chunk) or _analyse(chunk)
            count = known[0]
            if count >= 0:
                bits <<= count
            elif count == _ASK:
                bits, usual, last = _counted(line)
                break
            else:
                shifted = 0
                for count in known[1]:
                    shifted |= bits << count
                bits = shifted
            usual += known[2]
            last = known[3] or last
        if last is None:
            return False
        if policy == "any":
            if not bits >> target & 1:
                return False
        elif policy == "all":
            if bits != 1 << target:
                return False
        elif usual != target or not bits:
            return False
        ends.append(last)
    if form.rhyme != "off":
        for place, one in enumerate(ends):
            for other in ends[place + 1 :]:
                kind = _rhyme(one, other)
                if kind == "perfect" or (kind and form.rhyme == "identical"):
                    return False
    return True
