"""Poems to data to train on: cleaned, judged, tagged, split, as token files and as padded rows.

Reads file after file without holding them (`readers`), drops what is no poem of the forms asked for
and what came before (`near_duplicates`), and writes for each split

    train.bin             uint16 tokens of all poems, each ended by end-of-text: nanoGPT's format
    train_tokens.npy      uint16 (N, T), one poem a row, padded with end-of-text
    train_mask.npy        uint8 (N, T), 1 where a token is the poem's or ends it
    train_states.npy      uint16 (N, T + 1), the lattice state at the start and after each token
    train_folds.npy       uint8 (N,), with --folds
    train_tags.jsonl      a JSON object a poem: text, form, season words, cut, topic

and a card. Knows the lexicon, a lattice and a tokenizer; no weights. Called by `haiku prepare`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..cache import written_whole
from ..corpus.teacher import unpack
from ..lattice.budget import LEFT, LINES, walk
from ..lexicon import HAIKU, Form, find_cuts, find_kigo, validate
from ..lexicon.normalize import words as words_of
from ..tokenizer import Tokenizer
from . import readers
from .lattices import Lattices, bare
from .near_duplicates import THRESHOLD, NearDuplicates

SCHEMA = 2
CARD = "card.json"
SPLITS = ("train", "val", "test")
_NEEDED = ("tokenizer", "tokenizer_hash", "states", "folds")  # of a card, by who reads the data
LONGEST = 128  # tokens of a poem; longer ones are left out
_CHUNK = 4096  # poems that are padded at a time
_MARKS = str.maketrans({"\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"', "\u00a0": " "})
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")


def tokenizer_of(model: str) -> Tokenizer:
    """The tokenizer that goes with a model's name or path."""
    if model == "gpt2":  # shipped with this package: needs no weights
        return Tokenizer.gpt2()
    from ..checkpoint import load_tokenizer

    return load_tokenizer(model)


def clean(text: str) -> str:
    """A poem without blank lines, outer and double blanks, invisible characters; plain quotes."""
    text = _INVISIBLE.sub("", unicodedata.normalize("NFC", text).translate(_MARKS))
    return "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


@dataclass(frozen=True)
class Tags:
    """What is known of a poem. seasons: of its season words, in the order of `kigo`. teacher: what
    the model that wrote it thought (`corpus.teacher`); taught_by: that model; taught_end: the token
    that it ends a poem with, -1 if nobody knows."""

    text: str
    form: str
    kigo: tuple[str, ...] = ()
    seasons: tuple[str, ...] = ()
    cut: bool = False
    topic: str = ""
    teacher: str = ""
    taught_by: str = ""
    taught_end: int = -1

    @classmethod
    def of(cls, text: str, form: Form, record: readers.Record | None = None) -> Tags:
        """Read off the poem's own words, and off the record that it came with."""
        came = readers.Record(text) if record is None else record
        found = find_kigo(text)
        return cls(
            text=text,
            form=form.name,
            kigo=tuple(k.phrase for k in found),
            seasons=tuple(k.season for k in found),
            cut=bool(find_cuts(text)),
            topic=" ".join(came.topic.split()),
            teacher=came.teacher,
            taught_by=came.taught_by,
            taught_end=came.taught_end,
        )


class _Split:
    """One split under way: tokens, states and tags go to files as they come."""

    def __init__(self, out: Path, name: str) -> None:
        self.out, self.name = out, name
        self.files = contextlib.ExitStack()
        self.poems = self.tokens = self.without_states = self.longest = 0
        self._tokens = self._open(".bin")
        self._states = self._open("_states.part")
        self._lengths = self._open("_lengths.part")
        self._folds = self._open("_folds.part")
        self._tags = self._open("_tags.jsonl")

    def _open(self, ending: str) -> IO[bytes]:
        scratch = self.files.enter_context(written_whole(self.out / f"{self.name}{ending}"))
        return self.files.enter_context(scratch.open("wb"))

    def add(self, tokens: np.ndarray, states: np.ndarray | None, tags: Tags, fold: int) -> None:
        """One poem: tokens (T,) with its end, states (T + 1,) or None."""
        self.without_states += states is None
        known = np.zeros(len(tokens) + 1) if states is None else states
        self._tokens.write(tokens.astype("<u2").tobytes())
        self._states.write(known.astype("<u2").tobytes())
        self._lengths.write(np.array([len(tokens)], "<u2").tobytes())
        self._folds.write(bytes([fold]))
        line = json.dumps(asdict(tags), ensure_ascii=False, separators=(",", ":"))
        self._tags.write(line.encode() + b"\n")
        self.poems += 1
        self.tokens += len(tokens)
        self.longest = max(self.longest, len(tokens))

    def finish(self, eos: int, folds: int) -> dict[str, Any]:
        """Close the files and write the padded rows; returns what the card says."""
        self.files.close()
        self._pad(eos)
        path = self.out / f"{self.name}_folds.npy"
        with written_whole(path) as scratch, scratch.open("wb") as file:
            np.save(file, self._read("_folds.part", np.uint8))
        if not folds:
            path.unlink()
        for ending in ("_states.part", "_lengths.part", "_folds.part"):
            (self.out / f"{self.name}{ending}").unlink()
        return {
            "poems": self.poems,
            "tokens": self.tokens,
            "longest": self.longest,
            "without_states": self.without_states,
        }

    def _read(self, ending: str, dtype: Any) -> np.ndarray:
        path = self.out / f"{self.name}{ending}"
        return np.memmap(path, dtype, "r") if path.stat().st_size else np.zeros(0, dtype)

    def _pad(self, eos: int) -> None:
        lengths = self._read("_lengths.part", "<u2")
        flat, states = self._read(".bin", "<u2"), self._read("_states.part", "<u2")
        n, t = self.poems, self.longest
        shapes = {"tokens": ((n, t), "<u2"), "mask": ((n, t), "u1"), "states": ((n, t + 1), "<u2")}
        with contextlib.ExitStack() as stack:
            files = {}
            for name, (shape, dtype) in shapes.items():
                path = self.out / f"{self.name}_{name}.npy"
                file = stack.enter_context(stack.enter_context(written_whole(path)).open("wb"))
                header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                files[name] = file
            at = 0
            for first in range(0, n, _CHUNK):
                sizes = lengths[first : first + _CHUNK].astype(np.int64)
                mask = np.arange(t) < sizes[:, None]  # (P, T)
                rows = np.full(mask.shape, eos, "<u2")
                rows[mask] = flat[at : at + sizes.sum()]
                more = np.zeros((len(sizes), t + 1), "<u2")
                begin = at + first  # every poem has one state more than it has tokens
                more[np.arange(t + 1) <= sizes[:, None]] = states[
                    begin : begin + sizes.sum() + len(sizes)
                ]
                at += int(sizes.sum())
                files["tokens"].write(rows.tobytes())
                files["mask"].write(mask.astype("u1").tobytes())
                files["states"].write(more.tobytes())


def prepare(
    files: Sequence[str | Path],
    out: str | Path,
    *,
    model: str = "smollm2",
    tokenizer: Tokenizer | None = None,
    forms: Sequence[Form] = (HAIKU,),
    policy: str = "any",
    val_fraction: float = 0.1,
    test_fraction: float = 0.0,
    folds: int = 0,
    near: float = THRESHOLD,
    column: str | None = None,
    licence: str = "",
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """Write the data of a training run to `out`, from files of poems; returns its card.

    forms: a poem's form is the first of these whose lines it fits, under `policy`; it is left out
    if there is none. near: from which likeness on a poem counts as one that came before (1: equal
    words only; see `near_duplicates`). Which poems are held out depends on their words alone, so it
    stays the same when poems are added. progress: called with the number of poems read so far.
    """
    if isinstance(files, (str, Path)):
        files = [files]
    if not files:
        raise ValueError("no files of poems were given; name at least one")
    for name, share in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0.0 <= share < 1.0:
            raise ValueError(f"{name}={share} is not in [0, 1); use e.g. 0.1")
    if val_fraction + test_fraction >= 1.0:
        raise ValueError("val_fraction and test_fraction leave nothing to train on; lower them")
    if not 0 <= folds <= 255 or folds == 1:
        raise ValueError(f"folds={folds} cannot be; use 2 to 255, or 0 for none")
    if not forms:
        raise ValueError("no form was given; name at least one, e.g. haiku")
    tokenizer = tokenizer or tokenizer_of(model)
    if tokenizer.n_vocab > 1 << 16:
        raise ValueError(
            f"{tokenizer.name} has {tokenizer.n_vocab} tokens and uint16 holds 65536; "
            "use a model with a smaller one (gpt2, smollm2)"
        )
    known = Lattices(tokenizer)
    lattices = [known(form, tokenizer.eos) for form in forms]
    digests = {str(file): _sha256(file) for file in files}  # before anything is written

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    rejects: Counter[str] = Counter()
    seen = NearDuplicates(near)
    read = 0
    with contextlib.ExitStack() as stack:
        stack.callback(seen.close)
        splits = {}
        for name in SPLITS:
            splits[name] = _Split(out, name)
            stack.enter_context(splits[name].files)
        for record in _records(files, column):
            read += 1
            if progress is not None:
                progress(read)
            text = clean(record.text)
            keys = [word.key for word in words_of(text)]
            if not keys:
                rejects["no words"] += 1
                continue
            which = _form(text, forms, policy)
            if which is None:
                rejects["not of the form"] += 1
                continue
            ids = [*tokenizer.encode(text), tokenizer.eos]
            if len(ids) > LONGEST:
                rejects[f"over {LONGEST} tokens"] += 1
                continue
            if seen.seen(keys):
                rejects["said before"] += 1
                continue
            place = _place(" ".join(keys))
            name = (
                "val" if place < val_fraction
                else "test" if place < val_fraction + test_fraction
                else "train"
            )  # fmt: skip
            lattice = lattices[which]
            states = None if lattice is None else walk(lattice, ids)
            fold = int(_place("fold " + " ".join(keys)) * folds)
            record = replace(record, teacher=_record_of(record.teacher))
            tags = Tags.of(text, forms[which], record)
            splits[name].add(np.array(ids), states, tags, fold)
        if not sum(split.poems for split in splits.values()):
            why = ", ".join(f"{count} {reason}" for reason, count in rejects.items())
            raise ValueError(
                f"the files hold no poem of {', '.join(f.name for f in forms)}"
                + (f" ({why})" if why else "")
                + "; separate poems by blank lines, or write JSON lines"
            )
        if not splits["train"].poems:
            raise ValueError(
                f"val_fraction={val_fraction} holds out every poem; lower it or add poems"
            )
        counts = {name: split.finish(tokenizer.eos, folds) for name, split in splits.items()}
    card: dict[str, Any] = {
        "schema": SCHEMA,
        "licence": licence,
        "tokenizer": tokenizer.name,
        "tokenizer_hash": tokenizer.content_hash,
        "dtype": "uint16",
        "forms": [form.name for form in forms],
        "policy": policy,
        "states": {"lines": LINES, "left": LEFT},
        "val_fraction": val_fraction,
        "test_fraction": test_fraction,
        "folds": folds,
        "near": near,
        "read": read,
        "rejects": dict(rejects),
        **counts,
        "sources": [{"name": Path(file).name, "sha256": digests[str(file)]} for file in files],
    }
    with written_whole(out / CARD) as temporary:
        temporary.write_text(json.dumps(card, ensure_ascii=False, indent=2) + "\n", "utf-8")
    return card


def _records(files: Sequence[str | Path], column: str | None) -> Iterator[readers.Record]:
    for file in files:
        yield from readers.read(file, column)


def _record_of(teacher: str) -> str:
    """A teacher's record as it came; "" for what is none, such as a name in a school's table."""
    try:
        unpack(teacher)
    except ValueError:
        return ""
    return teacher


def _form(text: str, forms: Sequence[Form], policy: str) -> int | None:
    for which, form in enumerate(forms):
        if validate(text, bare(form), policy=policy).valid:
            return which
    return None


def read_card(data: str | Path) -> dict[str, Any]:
    """The card of a folder that `prepare` wrote."""
    path = Path(data) / CARD
    if not path.is_file():
        raise ValueError(f"{data} has no {CARD}; make it with `haiku prepare POEMS --out {data}`")
    try:
        card = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        card = None
    if not isinstance(card, dict):
        raise ValueError(f"{path} is damaged; run `haiku prepare` again")
    if card.get("schema") != SCHEMA:
        raise ValueError(f"{path} has schema {card.get('schema')}; run `haiku prepare` again")
    missing = [name for name in (*_NEEDED, *SPLITS) if name not in card]
    if missing:
        raise ValueError(f"{path} lacks {missing[0]!r}; run `haiku prepare` again")
    return card


def read_tokens(data: str | Path, split: str, tokenizer: Tokenizer) -> np.ndarray:
    """The tokens of one split, mapped from disk: (tokens,) uint16."""
    card = checked_card(data, tokenizer)
    path = Path(data) / f"{split}.bin"
    wanted = 2 * card[split]["tokens"]
    if not path.is_file() or path.stat().st_size != wanted:
        raise ValueError(
            f"{path} does not have the {wanted} bytes of its card; run `haiku prepare` again"
        )
    if not wanted:
        return np.empty(0, dtype="<u2")
    return np.memmap(path, dtype="<u2", mode="r")


def checked_card(data: str | Path, tokenizer: Tokenizer) -> dict[str, Any]:
    """The card, if the data was made with this tokenizer."""
    card = read_card(data)
    if card["tokenizer_hash"] != tokenizer.content_hash:
        raise ValueError(
            f"{data} holds tokens of {card['tokenizer']}, not of {tokenizer.name}; "
            "run `haiku prepare` with the same --model"
        )
    return card


def _place(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha1(text.encode()).digest()[:4], "big") / 2**32


def _sha256(source: str | Path) -> str | None:
    """Of a file, or of all files of a folder in order of their names; None of standard input."""
    if str(source) == "-":
        return None
    path = Path(source)
    if path.exists() and not path.is_file() and not path.is_dir():  # read once, it has no more
        raise ValueError(
            f"{source} is a pipe or a device, which can be read once and is read twice; write it "
            "to a file, or give it on standard input as -"
        )
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
