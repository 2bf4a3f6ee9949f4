"""How many syllables a word has that no dictionary knows: a small convolutional net over letters.

Knows no word list, no phonemes and no torch: numpy and `data/estimator.npz`, which
`train_estimator` writes. `syllables` calls it for unknown words; it never looks a word up.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

FORMAT = 1  # of data/estimator.npz
ALPHABET = "abcdefghijklmnopqrstuvwxyz'"  # letter i has id i + 1; 0 is padding
TAPS = 5  # letters one convolution sees
MAX_LETTERS = 64  # of one stretch of letters; what follows is counted by vowel groups
MAX_CHARACTERS = 256  # of a word; as above
READ_BY_LETTERS = 0.85  # chance that a word without any vowel letter is read letter by letter
KEEP = 1e-3  # counts less likely than this are left out, the two best excepted

Floats = NDArray[np.float32]
Estimate = list[tuple[int, float]]

_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SPELL = str.maketrans({
    "’": "'", "‘": "'", "ʼ": "'", "`": "'", "´": "'", "＇": "'",
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "th", "þ": "th",
    "ħ": "h", "ı": "i", "ŋ": "ng", "ſ": "s", "ə": "e",
    **{str(digit): f" {name} " for digit, name in enumerate(_NAMES)},
})  # fmt: skip
_PIECE = re.compile(r"[a-z']+", re.IGNORECASE | re.ASCII)
_VOWELS = re.compile(r"[aeiouy]+")
_SOUNDED = re.compile(  # letters whose accent says that they carry a syllable: café, belovèd, naïve
    r"(?<=[^\Waeiouy])e(?=[\u0300-\u0302\u0308](?:'?[ds])?(?!\w))|(?<=[aeiouy])[aeiou](?=\u0308)"
)
_SPELLED_OUT = re.compile(r"([b-df-hj-np-tv-xz]{2,}?)(?:'s|(?<=..)s)?")  # hq, pcs; read by letters
_HUMMED = re.compile(r"[hm]+|s+h+|[bg]+r+|p+f+t*|p+s+t+|t+s+k*|z+|n?th+s?|[mds]rs?|[mst]t|ms")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")


class _Piece(NamedTuple):
    letters: str  # of ALPHABET, at most MAX_LETTERS
    sounded: tuple[int, ...]  # places of letters that must carry a syllable


class _Block(NamedTuple):
    """One residual block of every member of the ensemble (first axis: member)."""

    conv: Floats  # (M, TAPS * C, H)
    word: Floats  # (M, C, H): sees the mean over the word
    bias: Floats  # (M, 1, H)
    out: Floats  # (M, H, C)
    out_bias: Floats  # (M, 1, C)


class _Net(NamedTuple):
    embedding: Floats  # (M, len(ALPHABET) + 1, C)
    blocks: tuple[_Block, ...]
    head: Floats  # (M, C, 3): a letter is the nucleus of 0, 1 or 2 syllables
    head_bias: Floats  # (M, 1, 3)


def estimate(word: str) -> Estimate:
    """Syllable counts of `word` with their probabilities, best first, summing to 1.

    From its letters alone: `estimate("frogpond")[0][0] == 2`. Parts joined by hyphens or other
    marks are added up, digits are read by name, accents and case fall away. A text without any
    Latin letter or digit gives [].
    """
    return estimate_many((word,))[0]


def estimate_many(words: Iterable[str]) -> list[Estimate]:
    """`[estimate(word) for word in words]`, computed together and so much faster."""
    if isinstance(words, str):
        raise TypeError("got one string; pass a list of words, or call estimate(word)")
    cut = [_pieces(word) for word in words]
    pieces = sorted({piece for parts, _ in cut for piece in parts}, key=_by_length)
    laws: dict[_Piece, NDArray[np.float64]] = {}
    start = 0
    while start < len(pieces):
        length, stop = len(pieces[start].letters), start
        limit = start + max(1, 1024 // length)
        while stop < min(limit, len(pieces)) and len(pieces[stop].letters) == length:
            stop += 1
        laws.update(zip(pieces[start:stop], _distributions(pieces[start:stop]), strict=True))
        start = stop
    return [_combine([laws[piece] for piece in parts], extra) for parts, extra in cut]


def _by_length(piece: _Piece) -> tuple[int, str, tuple[int, ...]]:
    return len(piece.letters), *piece


def _pieces(word: str) -> tuple[list[_Piece], int]:
    """The stretches of letters in a word, and the vowel groups in what is too long to be read."""
    if not isinstance(word, str):
        raise TypeError(f"a word is a str, got {type(word).__name__}; decode bytes first")
    text = unicodedata.normalize("NFKD", _INVISIBLE.sub("", word)).lower()
    rest = len(_VOWELS.findall(text, MAX_CHARACTERS)) if len(text) > MAX_CHARACTERS else 0
    text = text[:MAX_CHARACTERS]
    if not text.isascii():
        text = _SOUNDED.sub(lambda match: match[0].upper(), text)
        text = "".join(ch for ch in text if not unicodedata.combining(ch))
    parts: list[_Piece] = []
    for match in _PIECE.finditer(text.translate(_SPELL)):
        letters = re.sub("''+", "'", match[0])
        if letters == "'":
            continue
        rest += len(_VOWELS.findall(letters, MAX_LETTERS))
        letters = letters[:MAX_LETTERS]
        sounded = tuple(at for at, ch in enumerate(letters) if ch.isupper())
        parts.append(_Piece(letters.lower(), sounded))
    return parts, rest


def _combine(laws: Sequence[NDArray[np.float64]], extra: int) -> Estimate:
    """The sum of independent counts, pruned and sorted."""
    if not laws:
        return [(extra, 1.0)] if extra else []
    total = laws[0]
    for law in laws[1:]:
        total = np.convolve(total, law)
    order = np.argsort(-total, kind="stable")[:8]
    kept = [int(n) for place, n in enumerate(order) if total[n] >= (KEEP if place > 1 else 1e-12)]
    mass = float(sum(total[n] for n in kept))
    return [(n + extra, float(total[n]) / mass) for n in kept]


def _distributions(pieces: Sequence[_Piece]) -> NDArray[np.float64]:
    """P(count) of pieces of one length L, the mean over the ensemble: (N, 2 L + 1)."""
    length = len(pieces[0].letters)
    joined = "".join(piece.letters for piece in pieces).encode()
    ids = np.frombuffer(joined, np.uint8).astype(np.intp) - 96  # a is 1
    ids[ids < 0] = len(ALPHABET)  # the apostrophe
    letter = _nuclei(_net(), ids.reshape(len(pieces), length))
    for row, piece in enumerate(pieces):
        for at in piece.sounded:
            spoken = letter[:, row, at]
            spoken[:, 0] = 0.0
            spoken /= spoken.sum(-1, keepdims=True)
    # The law of the sum over the letters: its generating function on the unit circle, turned back.
    size = 2 * length + 1
    z = np.exp(np.arange(length + 1) * (-2j * np.pi / size))
    circle = np.prod(letter.astype(np.float64) @ np.stack([z**0, z, z**2]), 2)
    mixed = np.maximum(np.fft.irfft(circle.mean(0), size), 0.0)
    for row, piece in enumerate(pieces):
        spelled = _SPELLED_OUT.fullmatch(piece.letters)
        if spelled and not _HUMMED.fullmatch(piece.letters):
            mixed[row] *= 1 - READ_BY_LETTERS
            said = len(spelled[1]) + 2 * spelled[1].count("w")
            if said > 2 * length:  # www: more than the net can count
                mixed = np.pad(mixed, ((0, 0), (0, said - mixed.shape[1] + 1)))
            mixed[row, said] += READ_BY_LETTERS
    return mixed


def _nuclei(net: _Net, ids: NDArray[np.intp]) -> Floats:
    """P(a letter is the nucleus of 0, 1, 2 syllables), by member: (M, N, L, 3)."""
    rows, length = ids.shape
    x = net.embedding[:, ids]  # (M, N, L, C), of zero mean along C before and after every block
    members, width = x.shape[0], x.shape[-1]
    pad = TAPS // 2
    padded = np.zeros((members, rows, length + 2 * pad, width), np.float32)
    y = padded[:, :, pad : pad + length]
    tap = padded.strides[2]
    windows = as_strided(  # at each letter the TAPS letters around it, read where they stand
        padded,
        (members, rows, length, TAPS * width),
        (*padded.strides[:2], tap, padded.itemsize),
    )
    taps = as_strided(  # of one word alone: what each tap of the convolution reads
        padded, (members, TAPS, length, width), (padded.strides[0], tap, tap, padded.itemsize)
    )
    for block in net.blocks:
        _standardise(x, y)
        if rows == 1:  # products too small for the BLAS to wake its threads up for
            parts = taps @ block.conv.reshape(members, TAPS, width, -1)
            hidden = np.add.reduce(parts, 1)[:, None]
        else:
            seen = windows.reshape(members, rows * length, TAPS * width)
            hidden = (seen @ block.conv).reshape(members, rows, length, -1)
        hidden += (np.add.reduce(y, 2) @ block.word * (1 / length) + block.bias)[:, :, None]
        np.maximum(hidden, 0.0, out=hidden)
        step = hidden.reshape(members, rows * length, -1) @ block.out
        step += block.out_bias
        x += step.reshape(x.shape)
    logits = _standardise(x, x).reshape(members, rows * length, width) @ net.head + net.head_bias
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return p.reshape(members, rows, length, 3)


def _standardise(x: Floats, out: Floats) -> Floats:
    """Unit variance along C; the mean is zero already."""
    variance = np.einsum("mnlc,mnlc->mnl", x, x) * np.float32(1 / x.shape[-1])
    return np.divide(x, np.sqrt(variance + np.float32(1e-5))[..., None], out=out)


@lru_cache(maxsize=1)
def _net() -> _Net:
    """The shipped weights: int8 columns times a scale each, stored without pickle."""
    path = resources.files(__package__) / "data" / "estimator.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        if int(stored["format"]) != FORMAT:
            raise ValueError(
                f"estimator.npz has format {int(stored['format'])}, this code reads {FORMAT}; "
                "write it anew with: python -m constrained_gpt.lexicon.train_estimator"
            )
        return unpack({name: stored[name] for name in stored.files})


def unpack(stored: dict[str, NDArray[np.generic]]) -> _Net:
    """A net from the arrays of the file (see `train_estimator.pack`)."""

    def floats(name: str, centred: bool = False) -> Floats:
        array = stored[name].astype(np.float32)
        if stored[name].dtype == np.int8:
            array *= stored[f"{name}.scale"].astype(np.float32)
        # The net reads its residual stream only after taking the mean off: do that once, here.
        return array - array.mean(-1, keepdims=True) if centred else array

    blocks = tuple(
        _Block(
            floats(f"conv{i}"),
            floats(f"word{i}"),
            floats(f"bias{i}"),
            floats(f"out{i}", centred=True),
            floats(f"out_bias{i}", centred=True),
        )
        for i in range(int(stored["blocks"]))
    )
    embedding = floats("embedding", centred=True)
    return _Net(embedding, blocks, floats("head"), floats("head_bias"))
