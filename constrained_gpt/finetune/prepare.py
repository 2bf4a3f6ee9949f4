"""Poems to token files: train.bin and val.bin as nanoGPT reads them (uint16), and a card.

Knows files and a tokenizer; knows no weights and no rule of verse. Called by `haiku prepare`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import poems
from ..cache import written_whole
from ..tokenizer import Tokenizer

SCHEMA = 1
CARD = "card.json"


def tokenizer_of(model: str) -> Tokenizer:
    """The tokenizer that goes with a model's name or path."""
    if model == "gpt2":  # shipped with this package: needs no weights
        return Tokenizer.gpt2()
    from ..checkpoint import load_tokenizer

    return load_tokenizer(model)


def prepare(
    files: Sequence[str | Path],
    out: str | Path,
    *,
    model: str = "smollm2",
    tokenizer: Tokenizer | None = None,
    val_fraction: float = 0.1,
) -> dict[str, Any]:
    """Write `out`/train.bin, val.bin and card.json from files of poems; returns the card.

    Every poem becomes its tokens and the end-of-text token. Equal poems count once. Which poems are
    held out depends on their text alone, so it stays the same when poems are added.
    """
    if isinstance(files, (str, Path)):
        files = [files]
    if not files:
        raise ValueError("no files of poems were given; name at least one")
    if not 0.0 <= val_fraction < 1.0:
        raise ValueError(f"val_fraction={val_fraction} is not in [0, 1); use e.g. 0.1")
    texts = list(dict.fromkeys(poem.text for file in files for poem in poems.load(file)))
    if not texts:
        raise ValueError(
            "the files hold no poem; separate poems by blank lines, or write JSON lines"
        )
    tokenizer = tokenizer or tokenizer_of(model)
    if tokenizer.n_vocab > 1 << 16:
        raise ValueError(
            f"{tokenizer.name} has {tokenizer.n_vocab} tokens and uint16 holds 65536; "
            "use a model with a smaller one (gpt2, smollm2)"
        )
    held = [text for text in texts if _place(text) < val_fraction]
    kept = [text for text in texts if _place(text) >= val_fraction]
    if not kept:
        raise ValueError(f"val_fraction={val_fraction} holds out every poem; lower it or add poems")

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    card: dict[str, Any] = {
        "schema": SCHEMA,
        "tokenizer": tokenizer.name,
        "tokenizer_hash": tokenizer.content_hash,
        "dtype": "uint16",
        "val_fraction": val_fraction,
        "sources": [{"name": Path(file).name, "sha256": _sha256(file)} for file in files],
    }
    for split, chosen in (("train", kept), ("val", held)):
        ids = _encode(chosen, tokenizer)  # (tokens of all poems,)
        with written_whole(out / f"{split}.bin") as temporary:
            temporary.write_bytes(ids.tobytes())
        card[split] = {"poems": len(chosen), "tokens": len(ids)}
    with written_whole(out / CARD) as temporary:
        temporary.write_text(json.dumps(card, ensure_ascii=False, indent=2) + "\n", "utf-8")
    return card


def read_card(data: str | Path) -> dict[str, Any]:
    """The card of a folder that `prepare` wrote."""
    path = Path(data) / CARD
    if not path.is_file():
        raise ValueError(f"{data} has no {CARD}; make it with `haiku prepare POEMS --out {data}`")
    card: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if card.get("schema") != SCHEMA:
        raise ValueError(f"{path} has schema {card.get('schema')}; run `haiku prepare` again")
    return card


def read_tokens(data: str | Path, split: str, tokenizer: Tokenizer) -> np.ndarray:
    """The tokens of one split, mapped from disk: (tokens,) uint16."""
    card = read_card(data)
    if card["tokenizer_hash"] != tokenizer.content_hash:
        raise ValueError(
            f"{data} holds tokens of {card['tokenizer']}, not of {tokenizer.name}; "
            "run `haiku prepare` with the same --model"
        )
    path = Path(data) / f"{split}.bin"
    wanted = 2 * card[split]["tokens"]
    if not path.is_file() or path.stat().st_size != wanted:
        raise ValueError(
            f"{path} does not have the {wanted} bytes of its card; run `haiku prepare` again"
        )
    if not wanted:
        return np.empty(0, dtype="<u2")
    return np.memmap(path, dtype="<u2", mode="r")


def _encode(texts: Iterable[str], tokenizer: Tokenizer) -> np.ndarray:
    ids: list[int] = []
    for text in texts:
        ids += tokenizer.encode(text)
        ids.append(tokenizer.eos)
    return np.array(ids, dtype="<u2")


def _place(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha1(text.encode()).digest()[:4], "big") / 2**32


def _sha256(file: str | Path) -> str | None:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if str(file) != "-" else None
