"""A plain haiku for every grammar engine: three lines of words, 5, 7 and 5 syllables, no marks.

One word list as a context-free grammar (EBNF, Lark), as a regular expression, and as two slow
twins, which say by the definition which tokens may come next. Knows no engine. Called by
mask_peers.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from constrained_gpt.lexicon import Form, Lexicon
from constrained_gpt.tokenizer import Tokenizer

FORM = Form(rhyme="off", seasonal=False)
Words = Mapping[int, Sequence[str]]  # by syllables


def word_list(size: int, seed: int = 0) -> dict[str, int]:
    """`size` words of the default lexicon with their syllables; a longer list holds the shorter
    ones. Small letters alone, and one count each, so that nobody need know of sets."""
    lexicon = Lexicon.default()
    fit = [
        word for word in lexicon.words
        if word.isascii() and word.isalpha() and word.islower()
        and len(lexicon.counts(word)) == 1 and max(lexicon.counts(word)) <= max(FORM.lines)
    ]  # fmt: skip
    if size > len(fit):
        raise SystemExit(f"the lexicon has {len(fit):,} such words, not {size:,}; ask for fewer")
    drawn = np.random.default_rng(seed).permutation(len(fit))[:size]
    return {fit[i]: max(lexicon.counts(fit[i])) for i in sorted(drawn.tolist())}


def by_syllables(words: Mapping[str, int]) -> dict[int, list[str]]:
    """The words of each count."""
    found: dict[int, list[str]] = defaultdict(list)
    for word, syllables in words.items():
        found[syllables].append(word)
    return dict(found)


def _rules(words: Words, word: Callable[[int], str], gap: str) -> dict[int, str]:
    """Right-hand sides of "line of n syllables", for those that can be filled."""
    rules: dict[int, str] = {}
    for n in range(1, max(FORM.lines) + 1):
        ways = [word(n)] if n in words else []
        ways += [f"{word(k)} {gap} l{n - k}" for k in sorted(words) if n - k in rules]
        if ways:
            rules[n] = " | ".join(ways)
    return rules


def lark(words: Words) -> str:
    """For llguidance and glrmask: words are terminals."""
    rules = _rules(words, lambda n: f"W{n}", '" "')
    lines = ["start: " + ' "\\n" '.join(f"l{n}" for n in FORM.lines)]
    lines += [f"l{n}: {ways}" for n, ways in rules.items()]
    lines += [f"W{n}: " + " | ".join(f'"{w}"' for w in words[n]) for n in sorted(words)]
    return "\n".join(lines) + "\n"


def ebnf(words: Words) -> str:
    """For XGrammar."""
    rules = _rules(words, lambda n: f"w{n}", '" "')
    lines = ["root ::= " + ' "\\n" '.join(f"l{n}" for n in FORM.lines)]
    lines += [f"l{n} ::= {ways}" for n, ways in rules.items()]
    lines += [f"w{n} ::= " + " | ".join(f'"{w}"' for w in words[n]) for n in sorted(words)]
    return "\n".join(lines) + "\n"


def regex(words: Words) -> str:
    """For outlines-core: the rules of the lines written into each other."""
    lines: dict[int, str] = {}
    for n in range(1, max(FORM.lines) + 1):
        ways = [f"(?:{'|'.join(words[n])})"] if n in words else []
        ways += [f"(?:{'|'.join(words[k])}) {lines[n - k]}" for k in words if n - k in lines]
        if ways:
            lines[n] = f"(?:{'|'.join(ways)})"
    return "\\n".join(lines[n] for n in FORM.lines)


# -- slow twins ----------------------------------------------------------------------------------
class Twins:
    """Which tokens may follow, straight from the definition; seconds a state."""

    def __init__(self, words: Mapping[str, int], tokenizer: Tokenizer) -> None:
        self._words, self._tokenizer = words, tokenizer
        self._starts: dict[str, set[int]] = defaultdict(set)  # beginning -> counts of such words
        for word, syllables in words.items():
            for end in range(len(word) + 1):
                self._starts[word[:end]].add(syllables)
        counts = set(words.values())
        self._fills = [True]
        for n in range(1, max(FORM.lines) + 1):
            self._fills.append(any(c <= n and self._fills[n - c] for c in counts))
        self._spelled = {w: (tokenizer.encode(w), tokenizer.encode(" " + w)) for w in words}
        self._break = tokenizer.encode("\n")[0]
        self._bytes = [tokenizer.token_bytes(i) for i in range(tokenizer.n_vocab)]

    def of_text(self, written: Sequence[int]) -> np.ndarray:
        """bool (V,): the text with the token is the beginning of a poem, spelled in any way."""
        before = b"".join(self._bytes[t] for t in written)
        allowed = np.zeros(self._tokenizer.n_vocab, bool)
        for token, more in enumerate(self._bytes):
            if token != self._tokenizer.eos and more.isascii():
                allowed[token] = self._begins((before + more).decode("ascii"))
        allowed[self._tokenizer.eos] = self._whole(before.decode("ascii"))
        return allowed

    def _sum(self, line: str) -> int | None:
        """Syllables of whole words; None if one is unknown."""
        counts = [self._words.get(word) for word in line.split(" ")]
        return None if None in counts else sum(c for c in counts if c is not None)

    def _whole(self, text: str) -> bool:
        return tuple(self._sum(line) for line in text.split("\n")) == FORM.lines

    def _begins(self, text: str) -> bool:
        *whole, last = text.split("\n")
        if len(whole) >= len(FORM.lines):
            return False
        if [self._sum(line) for line in whole] != list(FORM.lines[: len(whole)]):
            return False
        *words, piece = last.split(" ")
        spent = self._sum(" ".join(words)) if words else 0
        if spent is None:
            return False
        left = FORM.lines[len(whole)] - spent
        return any(c <= left and self._fills[left - c] for c in self._starts.get(piece, ()))

    def canonical(self, written: Sequence[int]) -> np.ndarray:
        """bool (V,): the tokens with this one begin the spelling that the tokenizer itself gives to
        a poem, word by word."""
        allowed = np.zeros(self._tokenizer.n_vocab, bool)
        text = self._tokenizer.decode(written)
        line = text.count("\n")
        begun = max((i for i, t in enumerate(written) if self._opens(written, i)), default=0)
        pending = [] if not written or written[-1] == self._break else list(written[begun:])
        piece = self._tokenizer.decode(pending)
        before = text[: len(text) - len(piece)].rpartition("\n")[2]
        left = FORM.lines[line] - (self._sum(before) or 0 if before else 0)
        at_start = not before
        for word, syllables in self._words.items():
            spelled = self._spelled[word][0 if at_start else 1]
            fits = syllables <= left and self._fills[left - syllables]
            if fits and len(spelled) > len(pending) and spelled[: len(pending)] == pending:
                allowed[spelled[len(pending)]] = True
        whole = self._words.get(piece.strip()) if pending else None
        if whole is not None and self._spelled[piece.strip()][0 if at_start else 1] == pending:
            rest = left - whole
            if rest == 0:
                last = line == len(FORM.lines) - 1
                allowed[self._tokenizer.eos if last else self._break] = True
            for word, syllables in self._words.items():
                if syllables <= rest and self._fills[rest - syllables]:
                    allowed[self._spelled[word][1][0]] = True
        return allowed

    def _opens(self, written: Sequence[int], i: int) -> bool:
        """Does a word begin with token i?"""
        return i == 0 or written[i - 1] == self._break or self._bytes[written[i]][:1] == b" "
