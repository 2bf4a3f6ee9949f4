"""A tokenizer cut down to the tokens that some words need, most frequent first.

Byte-pair merges are ranked by how often their pair was seen, so the lowest ranks are the commonest
tokens. What is kept is closed: the two halves of every kept token are kept, so a kept word is
spelled as before, and one whose token is gone is spelled in smaller pieces. Knows tokenizers; no
model. Called by `finetune.shrink`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

from .tokenizer import DIGITS_PATTERN, GPT2_PATTERN, Tokenizer, to_spelling

END = "<|endoftext|>"
_BYTE_LEVEL = {
    "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True
}  # fmt: skip


class Smaller(NamedTuple):
    """tokens: old id of every new one, the first of them the token that ends a text. content: the
    tokenizer as Hugging Face's tokenizer.json has it."""

    tokens: list[int]
    content: dict[str, Any]


def smaller(
    tokenizer: Tokenizer, texts: Iterable[str], size: int, first: Iterable[str] = ()
) -> Smaller:
    """At most `size` tokens: the end, every byte, those that the texts of `first` need, and the
    commonest that `texts` need.

    ValueError if `size` is too small for that, or the tokenizer splits text in its own way.
    """
    encoding = tokenizer._encoding
    ranks: dict[bytes, int] = encoding._mergeable_ranks
    ids = {tokenizer.token_bytes(i): i for i in reversed(range(tokenizer.n_vocab))}
    single = sorted((t for t in ranks if len(t) == 1 and t in ids), key=ranks.__getitem__)
    sure = _closed(tokenizer, first)
    halves = sure | _closed(tokenizer, texts)
    rest = sorted(halves.keys() - sure.keys(), key=ranks.__getitem__)
    room = size - 1 - len(single) - len(sure)
    if room < 0:
        raise ValueError(
            f"a vocabulary of {size} holds less than the {size - room} tokens that must be in it; "
            "give more"
        )
    # The halves of a token rank below it: the lowest ranks are closed by themselves.
    kept = sorted([*sure, *rest[:room]], key=ranks.__getitem__)
    spelled = [*single, *kept]
    content = {
        "version": "1.0",
        "added_tokens": [{"id": 0, "content": END, "special": True}],
        "normalizer": None,
        "pre_tokenizer": _splitting(encoding._pat_str),
        "decoder": {"type": "ByteLevel"},
        "model": {
            "type": "BPE",
            "vocab": {to_spelling(token): i for i, token in enumerate(spelled, 1)},
            "merges": [" ".join(map(to_spelling, halves[token])) for token in kept],
        },
    }
    return Smaller([tokenizer.eos, *(ids[token] for token in spelled)], content)


def _closed(tokenizer: Tokenizer, texts: Iterable[str]) -> dict[bytes, tuple[bytes, bytes]]:
    """The tokens of more than a byte that texts need, their halves and theirs, each with its
    halves."""
    ranks: dict[bytes, int] = tokenizer._encoding._mergeable_ranks
    needed = set(tokenizer.encode_many([*texts]).ids.tolist())
    queue = [tokenizer.token_bytes(i) for i in needed]
    found: dict[bytes, tuple[bytes, bytes]] = {}
    while queue:
        token = queue.pop()
        if len(token) > 1 and token not in found:
            found[token] = _halves(token, ranks)
            queue.extend(found[token])
    return found


def _halves(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens that a merge made this one of: its bytes, merged by all lower ranks."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [ranks.get(a + b, 1 << 30) for a, b in pairwise(parts)]
        at = min(range(len(pairs)), key=pairs.__getitem__)
        if pairs[at] >= ranks[token]:
            raise ValueError(f"no merge makes the token {token!r}; this tokenizer cannot be cut")
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]


def _splitting(pattern: str) -> dict[str, Any]:
    if pattern == GPT2_PATTERN:
        return _BYTE_LEVEL
    if pattern == DIGITS_PATTERN:
        digits = {"type": "Digits", "individual_digits": True}
        return {"type": "Sequence", "pretokenizers": [digits, _BYTE_LEVEL]}
    raise ValueError("the tokenizer splits text in a way not known here; use smollm2's or gpt2's")
