"""Text to token ids and back, always through tiktoken.

Knows bytes, merges and special tokens; knows no model, no lattice and no chat wording. Called by
the checkpoint loader, which builds one per model, by the lattice and by the prompt builder.

tiktoken wants a token's id to be its merge priority. Checkpoints number their tokens as they like
(SmolLM2 starts with 17 special ones), so a `Tokenizer` ranks the tokens by their merges, gives
those ranks to tiktoken, and translates between rank and id with two tables.
"""

from __future__ import annotations

import hashlib
import lzma
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tiktoken

GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
# Digits stand alone; then GPT-2's rule on what lies between them. A run of white space before a
# digit ends its piece, so it is taken whole, where before a letter its last blank goes to the word.
DIGITS_PATTERN = (
    r"\p{N}|'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?![^\s\p{N}])|\s"
)
PATTERNS: Mapping[str, str] = {
    "gpt2": GPT2_PATTERN,
    "gpt-2": GPT2_PATTERN,
    "default": GPT2_PATTERN,
    "smollm": DIGITS_PATTERN,
}

# White space that may go into one piece with a line break beside it.
_TOUCHING = re.compile(r"\s\n|\n\s(?:\s|\Z)")
_PRINTABLE = [b for b in range(256) if chr(b).isprintable() and chr(b) != " "]
_BYTE_ORDER = _PRINTABLE + [b for b in range(256) if b not in _PRINTABLE]
# byte -> its character in vocabulary files
_SPELLING = [""] * 256
for _i, _b in enumerate(_BYTE_ORDER):
    _SPELLING[_b] = chr(_b if _i < len(_PRINTABLE) else 256 + _i - len(_PRINTABLE))
# character -> chr(byte); a character below 256 that spells no byte becomes one that latin-1 refuses
_TO_LATIN = dict.fromkeys(range(256), "\uffff") | {ord(c): chr(b) for b, c in enumerate(_SPELLING)}


def to_bytes(token: str) -> bytes:
    """The bytes behind a byte-level token as vocabulary files spell it ("Ġfrog" -> b" frog")."""
    try:
        return token.translate(_TO_LATIN).encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(
            f"token {token[:80]!r} is not in byte-level spelling; only byte-level BPE vocabularies "
            "(GPT-2's kind) can be read: use such a checkpoint"
        ) from None


def to_spelling(data: bytes) -> str:
    """The spelling of bytes in vocabulary files; undoes `to_bytes`."""
    return "".join(_SPELLING[b] for b in data)


class Encoded(NamedTuple):
    """Many texts: ids int64 (all tokens,), text after text; lengths int64 (texts,)."""

    ids: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Encoded:
        """From a list of ids for each text."""
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        ids = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
        return cls(ids, lengths)

    def rows(self) -> list[list[int]]:
        """A list of ids for each text."""
        every, end = self.ids.tolist(), 0
        return [every[end : (end := end + n)] for n in self.lengths.tolist()]


class Tokenizer:
    """One tiktoken encoding under a checkpoint's own token ids."""

    def __init__(
        self,
        name: str,
        token_bytes: Sequence[bytes],
        ranks: Mapping[bytes, int],
        pattern: str,
        special_tokens: Mapping[str, int],
        *,
        eos: int,
        chat: str | None = None,
    ) -> None:
        """`token_bytes[id]` for every id; `ranks`: bytes -> merge priority, dense from 0; specials
        by id."""
        self.name = name
        self.n_vocab = len(token_bytes)
        if not 0 <= eos < self.n_vocab:
            raise ValueError(
                f"end-of-text id {eos} is outside the vocabulary of {self.n_vocab}; "
                "give the id of a token that ends a text"
            )
        self.eos = eos
        self.chat = chat
        self.pattern = pattern
        self.special_tokens: dict[str, int] = dict(special_tokens)
        self._bytes: tuple[bytes, ...] = tuple(token_bytes)
        first_special = len(ranks)
        special_ranks = {t: first_special + i for i, t in enumerate(self.special_tokens)}
        self._encoding = tiktoken.Encoding(
            name,
            pat_str=pattern,
            mergeable_ranks=dict(ranks),
            special_tokens=special_ranks,
        )
        id_of = np.full(
            first_special + len(special_ranks), -1, dtype=np.int64
        )  # (ranks + specials,)
        ids: dict[bytes, int] = {}
        specials = set(self.special_tokens.values())
        for i, data in enumerate(self._bytes):
            if i not in specials:
                ids.setdefault(data, i)
        for data, rank in ranks.items():
            id_of[rank] = ids.get(data, -1)
        for text, rank in special_ranks.items():
            id_of[rank] = self.special_tokens[text]
        self._ids = id_of
        self._id_of: list[int] = id_of.tolist()
        self._identity = self._id_of == list(range(len(self._id_of)))
        digest = hashlib.sha256()
        for part in (pattern.encode(), repr(sorted(self.special_tokens.items())).encode()):
            digest.update(len(part).to_bytes(8, "little") + part)
        digest.update(np.array([len(b) for b in self._bytes], dtype="<i8").tobytes())
        digest.update(b"".join(self._bytes))
        digest.update(id_of.astype("<i8").tobytes())
        digest.update(repr((self.n_vocab, eos, chat)).encode())
        self.content_hash: str = digest.hexdigest()

    # -- building ---------------------------------------------------------------------------------

    @staticmethod
    @lru_cache(maxsize=1)
    def gpt2() -> Tokenizer:
        """GPT-2's encoding, from the ranks shipped with this package: works offline."""
        merges = gpt2_merges()
        ranks = _ranks_from_merges(merges)
        tokens = sorted(ranks, key=ranks.__getitem__)
        tokens.append(b"<|endoftext|>")
        return Tokenizer("gpt2", tokens, ranks, GPT2_PATTERN, {"<|endoftext|>": 50256}, eos=50256)

    @staticmethod
    def from_merges(
        name: str,
        tokens: Sequence[str],
        merges: Iterable[str | Sequence[str]],
        pattern: str,
        special_tokens: Mapping[str, int],
        *,
        eos: int,
        chat: str | None = None,
    ) -> Tokenizer:
        """From a vocabulary in byte-level spelling (index = id) and its merges, in order of
        priority.

        `merges` are "a b" strings, as in merges.txt and GGUF, or pairs, as newer tokenizer.json
        have.
        """
        special_ids = set(special_tokens.values())
        for text, i in special_tokens.items():
            if not 0 <= i < len(tokens):
                raise ValueError(
                    f"special token {text!r} has id {i}, outside the vocabulary of {len(tokens)}; "
                    "the tokenizer files do not belong together: fetch the checkpoint again"
                )
        texts = {i: text for text, i in special_tokens.items()}
        data = [
            texts[i].encode() if i in special_ids else to_bytes(token)
            for i, token in enumerate(tokens)
        ]
        if not 0 <= eos < len(tokens):
            raise ValueError(
                f"end-of-text id {eos} is outside the vocabulary of {len(tokens)}; "
                "the tokenizer files do not belong together: fetch the checkpoint again"
            )
        pairs: list[tuple[str, str]] = []
        for merge in merges:
            pair = tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge)
            if len(pair) != 2:
                raise ValueError(
                    f"merge {merge!r} is not a pair of tokens; fetch the tokenizer files again"
                )
            pairs.append((pair[0], pair[1]))
        return Tokenizer(
            name,
            data,
            _ranks_from_merges(pairs, dict(zip(tokens, data, strict=True))),
            pattern,
            special_tokens,
            eos=eos,
            chat=chat,
        )

    # -- using ------------------------------------------------------------------------------------

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; what looks like a special token is ordinary text here."""
        return self._to_ids(self._encoding.encode_ordinary(_valid(text)))

    def encode_many(self, texts: Sequence[str]) -> Encoded:
        """`encode` of each text, in less time and while other threads run: where no text can change
        how its neighbours are split, all of them are encoded as the lines of one."""
        lines = "\n".join(texts)
        if not self._splits_lines(lines, texts):
            return Encoded.of([self.encode(text) for text in texts])
        ranks = np.array(self._encoding.encode_ordinary(lines), np.int64)
        breaks = np.flatnonzero(ranks == self._encoding.encode_ordinary("\n")[0])
        if len(breaks) != len(texts) - 1:  # no token of its own
            return Encoded.of([self.encode(text) for text in texts])
        owner = np.zeros(len(ranks), np.int64)
        owner[breaks] = 1
        owner = np.cumsum(owner)
        ids = self._ids[ranks]
        kept = ids >= 0
        kept[breaks] = False
        return Encoded(ids[kept], np.bincount(owner[kept], minlength=len(texts)))

    def _splits_lines(self, lines: str, texts: Sequence[str]) -> bool:
        """Are the pieces of each text those that it has as one of many lines? White space next to a
        line break may go with it into one piece; a blank before a letter or sign does not, nor, by
        the rule that lets digits stand alone, one before a digit."""
        if not texts or _TOUCHING.search(lines) or lines.count("\n") != len(texts) - 1:
            return False
        if self.pattern == GPT2_PATTERN:
            return True
        return self.pattern == DIGITS_PATTERN and not any(
            text[:1].isspace() and text[1:2].isnumeric() for text in texts
        )

    def encode_special(self, text: str) -> list[int]:
        """Ids of `text` with special tokens recognised; for prompts built by the program alone."""
        return self._to_ids(self._encoding.encode(_valid(text), allowed_special="all"))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; bytes that are not UTF-8 become U+FFFD."""
        return b"".join([self.token_bytes(i) for i in ids]).decode("utf-8", errors="replace")

    def merges(self) -> list[tuple[bytes, bytes]]:
        """The pairs that make the tokens, in order of priority: undoes `from_merges`."""
        ranks = self._encoding._mergeable_ranks
        found = []
        for token in sorted(ranks, key=ranks.__getitem__):
            if len(token) > 1:
                found.append(_pair(token, ranks))
        return found

    def token_bytes(self, token: int) -> bytes:
        """The bytes that one token stands for (a special token: its name)."""
        if not 0 <= token < self.n_vocab:
            raise ValueError(
                f"token {token} is outside the vocabulary 0..{self.n_vocab - 1}; "
                "was it made with another tokenizer?"
            )
        return self._bytes[token]

    def _to_ids(self, ranks: list[int]) -> list[int]:
        if self._identity:
            return ranks
        id_of = self._id_of
        return [i for r in ranks if (i := id_of[r]) >= 0]

    def __repr__(self) -> str:
        return (
            f"Tokenizer({self.name!r}, n_vocab={self.n_vocab}, eos={self.eos}, chat={self.chat!r})"
        )


def gpt2_merges() -> list[tuple[str, str]]:
    """GPT-2's 50,000 merges in order of priority (data/gpt2_merges.txt.xz)."""
    packed = resources.files(__package__).joinpath("data/gpt2_merges.txt.xz").read_bytes()
    lines = lzma.decompress(packed).decode().split("\n")[1:-1]
    return [(a, b) for a, b in (line.split(" ") for line in lines)]


def _ranks_from_merges(
    merges: Iterable[tuple[str, str]], known: Mapping[str, bytes] | None = None
) -> dict[bytes, int]:
    """bytes -> priority: the 256 bytes in GPT-2's order, then what each merge makes, where first
    made.

    `known` spares work: the bytes of spellings that were translated before.
    """
    ranks = {bytes([b]): i for i, b in enumerate(_BYTE_ORDER)}
    known = known or {}
    for a, b in merges:
        made = known.get(a + b)
        ranks.setdefault(to_bytes(a + b) if made is None else made, len(ranks))
    return ranks


def _pair(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    """The two parts that a token is merged from, last of all: what is left of its bytes when all
    merges of higher priority are made."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        best = min(range(len(parts) - 1), key=lambda i: ranks.get(parts[i] + parts[i + 1], 1 << 60))
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts[0], parts[1]


def _valid(text: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"text must be str, got {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates: same replacement that tiktoken makes
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
