"""A world small enough to enumerate: eight words, a byte-pair tokenizer of its own, a tiny model.

Everything the laws need to be checked by brute force, both directions. Used by the law tests.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import tiktoken

from constrained_gpt.lexicon import Form, Lexicon, Saijiki
from constrained_gpt.lexicon.typography import Mark, Typography

WORDS: dict[str, set[int]] = {
    "snow": {1},
    "glow": {1},
    "a": {1},
    "fire": {1, 2},
    "winter": {2},
    "moon": {1},
    "I": {1},
    "fireside": {2, 3},
}
SOUNDS = {
    "snow": [("OW", "N")],
    "glow": [("OW", "L")],
    "a": [("AH", "")],
    "it": [("IH T", "")],
    "fire": [("AY ER", "F")],
    "winter": [("IH N T ER", "W")],
    "moon": [("UW N", "M")],
    "I": [("AY", "")],
    "fireside": [("AY D", "S")],
}
SAIJIKI = Saijiki.from_phrases(
    {"snow": "winter", "winter moon": "winter", "moon": "autumn", "moon glow": "none"}
)
MARKS = (
    Mark(",", mid=True, end=True),
    Mark("!", end=True, final=True, sentence=True),
    Mark("...", mid=True, end=True, final=True),
)


def lexicon(words: dict[str, set[int]] | None = None) -> Lexicon:
    words = WORDS if words is None else words
    return Lexicon.from_words(
        words,
        saijiki=SAIJIKI,
        sounds={w: SOUNDS[w] for w in words},
        dangling={"a"},
    )


class ToyTokenizer:
    """tiktoken over bytes and a few merges that cut words in the middle, as real ones do."""

    PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    MERGES = (
        b" s",
        b"ow",
        b" m",
        b"oo",
        b"wi",
        b" f",
        b"ir",
        b"fir",
        b" fir",
        b"..",
        b" wi",
        b"sn",
    )

    def __init__(self) -> None:
        ranks = {bytes([b]): b for b in range(256)}
        for merge in self.MERGES:
            ranks[merge] = len(ranks)
        self.eos = len(ranks)
        self.n_vocab = self.eos + 1
        self._encoding = tiktoken.Encoding(
            "toy", pat_str=self.PATTERN, mergeable_ranks=ranks, special_tokens={"<end>": self.eos}
        )
        self.content_hash = hashlib.sha256(repr(sorted(ranks.items())).encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        return self._encoding.encode_ordinary(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self._encoding.decode([i for i in ids if i != self.eos])


class ToyEngine:
    """A language model whose logits are a hash of the whole token history: nothing is smooth.

    Same interface as `constrained_gpt.engine.Engine`; exact, so it can be enumerated.
    """

    def __init__(self, tokenizer: ToyTokenizer, *, spread: float = 2.0, padding: int = 3) -> None:
        self.tokenizer = tokenizer
        self.n_vocab = tokenizer.n_vocab + padding
        self.max_positions = 4096
        self.name = "toy"
        self.spread = spread
        self._known: dict[tuple[int, ...], np.ndarray] = {}

    def logits(self, history: Sequence[int]) -> np.ndarray:
        key = tuple(map(int, history))
        if key not in self._known:
            self._known[key] = self._hashed(key)
        return self._known[key]

    def _hashed(self, history: tuple[int, ...]) -> np.ndarray:
        digest = hashlib.sha256(repr(list(history)).encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        return (self.spread * rng.standard_normal(self.n_vocab)).astype(np.float32)

    def prefill(self, ids: Sequence[int], batch: int, max_new: int) -> tuple[ToyCache, np.ndarray]:
        return ToyCache([tuple(ids)] * batch), self.logits(ids)

    def decode_step(self, cache: ToyCache, tokens: np.ndarray) -> np.ndarray:
        cache.rows = [(*row, int(token)) for row, token in zip(cache.rows, tokens, strict=True)]
        return np.stack([self.logits(row) for row in cache.rows])


class ToyCache:
    def __init__(self, rows: list[tuple[int, ...]]) -> None:
        self.rows = rows

    def select(self, parents: np.ndarray) -> None:
        self.rows = [self.rows[int(p)] for p in parents]


def all_texts(form: Form, words: dict[str, set[int]], typography: Typography) -> Iterator[str]:
    """Every text of the surface grammar whose lines can hold the right number of syllables.

    Written from the description of the typography, not from the lattice: words joined by spaces
    or by a mid mark and a space, lines closed by an optional mark, capitals by `capitals_agree`.
    """
    mid = ["", *(m.text for m in typography.marks if m.mid)]
    end = ["", *(m.text for m in typography.marks if m.end)]
    final = ["", *(m.text for m in typography.marks if m.final)]
    per_line: list[list[str]] = []
    for number, target in enumerate(form.lines):
        closing = final if number == len(form.lines) - 1 else end
        bodies: list[str] = []
        for length in range(1, target + 1):
            for chosen in itertools.product(words, repeat=length):
                totals = {sum(c) for c in itertools.product(*(words[w] for w in chosen))}
                if target not in totals:
                    continue
                for marks in itertools.product(mid, repeat=length - 1):
                    body = chosen[0]
                    for mark, word in zip(marks, chosen[1:], strict=True):
                        body += f"{mark} {word}"
                    bodies.extend(
                        {start + body[1:] for start in (body[0], body[0].upper())}
                        if not body[0].isupper()
                        else {body}
                    )
        per_line.append([body + mark for body in bodies for mark in closing])
    for lines in itertools.product(*per_line):
        text = "\n".join(lines)
        if capitals_agree(text, typography.capitals, [w for w in words if w[0].isupper()]):
            yield text


def capitals_agree(text: str, rule: str, always_large: Sequence[str]) -> bool:
    """The capital rule read off a text: see `Typography.capitals`."""
    shapes: list[tuple[bool, bool]] = []  # (capital, after a full stop), undecidable lines left out
    previous = ""
    for line in text.split("\n"):
        first = line.split()[0].rstrip(".,!?;:—")
        after_stop = previous.endswith("!") or (
            previous.endswith(".") and not previous.endswith("...")
        )
        if first not in always_large:
            shapes.append((first[0].isupper(), after_stop))
        previous = line
    if rule == "lower":
        return not any(capital for capital, _ in shapes)
    if rule == "lines":
        return all(capital for capital, _ in shapes)
    if not shapes:
        return True
    if not shapes[0][0]:
        return not any(capital for capital, _ in shapes)
    rest = shapes[1:]
    if any(after and not capital for capital, after in rest):
        return False
    return len({capital for capital, after in rest if not after}) <= 1
