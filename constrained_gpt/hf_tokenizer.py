"""Tokenizer files of a Hugging Face folder (tokenizer.json or vocab.json) -> Tokenizer.

Knows the JSON of byte-level BPE tokenizers; refuses what tiktoken would split otherwise. Called by
`checkpoint_hf`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .checkpoint_common import CheckpointError
from .tokenizer import DIGITS_PATTERN, GPT2_PATTERN, Tokenizer

_MOST_IDS = 1 << 22  # a larger vocabulary is a damaged one


def load_folder_tokenizer(folder: Path) -> Tokenizer:
    """The folder's tokenizer; GPT-2's own where the folder has none and the model is a GPT-2."""
    card = _read_if_there(folder / "config.json")
    settings = _read_if_there(folder / "tokenizer_config.json")
    try:
        if (folder / "tokenizer.json").is_file():
            vocab, merges, pattern, special = _from_tokenizer_json(folder / "tokenizer.json")
        elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            vocab, merges, pattern, special = _from_vocab_and_merges(folder, settings)
        else:
            gpt2 = Tokenizer.gpt2()
            if card.get("model_type") == "gpt2" and card.get("vocab_size") == gpt2.n_vocab:
                return gpt2
            raise CheckpointError(
                f"{folder}: no tokenizer.json, nor vocab.json with merges.txt; copy the "
                "tokenizer's files "
                "of the model into it (tokenizer.save_pretrained)"
            )
        tokens = _by_id(folder, vocab, special)
        eos = _eos(folder, card, settings, {**vocab, **special})
        return Tokenizer.from_merges(
            folder.name, tokens, merges, pattern, special, eos=eos, chat=_chat(folder, settings)
        )
    except CheckpointError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{folder}: its tokenizer files cannot be used: {error or type(error).__name__}; "
            "fetch them again"
        ) from None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path.parent}: no {path.name} in it; give a folder that save_pretrained wrote"
        ) from None
    except (OSError, ValueError, RecursionError):
        raise CheckpointError(f"{path}: cannot be read as JSON; fetch it again") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds no JSON object; fetch it again")
    return content


def _read_if_there(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


Parts = tuple[
    dict[str, int], list[Any], str, dict[str, int]
]  # vocab, merges, pattern, special tokens


def _from_tokenizer_json(path: Path) -> Parts:
    content = read_json(path)
    model = content["model"]
    if model.get("type", "BPE") != "BPE" or model.get("byte_fallback"):
        raise CheckpointError(
            f"{path}: a {model.get('type')} tokenizer; only byte-level BPE can be read: use such "
            "a model"
        )
    if content.get("normalizer") is not None:
        raise CheckpointError(
            f"{path}: it rewrites text before splitting it; use a model that does not"
        )
    if model.get("ignore_merges"):
        raise CheckpointError(f"{path}: ignore_merges is not supported; use another model")
    special = {t["content"]: t["id"] for t in content.get("added_tokens", [])}
    return model["vocab"], model["merges"], _pattern(path, content.get("pre_tokenizer")), special


def _pattern(path: Path, rule: Any) -> str:
    """The two splitting rules that are known, as patterns."""
    steps = rule.get("pretokenizers") if rule and rule.get("type") == "Sequence" else [rule]
    last = steps[-1] if steps else None
    byte_level = (
        isinstance(last, dict)
        and last.get("type") == "ByteLevel"
        and not last.get("add_prefix_space", True)
        and last.get("use_regex", True)
    )
    if byte_level and len(steps) == 1:
        return GPT2_PATTERN
    first = steps[0] if steps else None
    if (
        byte_level
        and len(steps) == 2
        and isinstance(first, dict)
        and (first.get("type"), first.get("individual_digits")) == ("Digits", True)
    ):
        return DIGITS_PATTERN
    raise CheckpointError(
        f"{path}: it splits text in a way not known here; use a model with GPT-2's or SmolLM2's "
        "tokenizer"
    )


def _from_vocab_and_merges(folder: Path, settings: Mapping[str, Any]) -> Parts:
    vocab = read_json(folder / "vocab.json")
    lines = (folder / "merges.txt").read_text("utf-8").split("\n")
    merges = [line for line in lines if line and not line.startswith("#version")]
    added = settings.get("added_tokens_decoder") or {}
    special = {t["content"]: int(i) for i, t in added.items()}
    if not special and "<|endoftext|>" in vocab:
        special = {"<|endoftext|>": vocab["<|endoftext|>"]}
    return vocab, merges, GPT2_PATTERN, special


def _by_id(folder: Path, vocab: Mapping[str, int], special: Mapping[str, int]) -> Sequence[str]:
    """Spellings in order of id. Ids without a token become empty ones, which nothing encodes to."""
    ids = [*vocab.values(), *special.values()]
    if not all(type(i) is int and 0 <= i < _MOST_IDS for i in ids):
        raise CheckpointError(f"{folder}: its tokenizer numbers tokens impossibly; fetch it again")
    tokens = [""] * (max(ids, default=-1) + 1)
    for table in (vocab, special):
        for token, i in table.items():
            tokens[i] = token
    return tokens


def _eos(
    folder: Path, card: Mapping[str, Any], settings: Mapping[str, Any], ids: Mapping[str, int]
) -> int:
    """The id of the token that ends a text: as the tokenizer says, else the model's, else
    GPT-2's."""
    named = settings.get("eos_token")
    if isinstance(named, dict):
        named = named.get("content")
    numbered = card.get("eos_token_id")
    if isinstance(numbered, list) and numbered:
        numbered = numbered[0]
    for found in (
        ids.get(named) if isinstance(named, str) else None,
        numbered,
        ids.get("<|endoftext|>"),
    ):
        if type(found) is int:
            return found
    raise CheckpointError(
        f"{folder}: neither tokenizer_config.json nor config.json says which token ends a text; "
        "add eos_token to tokenizer_config.json"
    )


def _chat(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """ "chatml" where the model's template writes turns that way."""
    template = settings.get("chat_template")
    file = folder / "chat_template.jinja"
    if template is None and file.is_file():
        template = file.read_text("utf-8", errors="replace")
    return "chatml" if isinstance(template, str) and "<|im_start|>" in template else None
