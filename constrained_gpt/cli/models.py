"""What is done with a model as a whole: `haiku models`, `download`, `lookahead`, `shrink`, `pack`,
`export`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .arguments import Commands, given
from .output import Bar


def _download(args: argparse.Namespace) -> int:
    from .. import registry

    print(registry.download(args.name))
    return 0


def _models(args: argparse.Namespace) -> int:
    from .. import registry

    for line in registry.describe():
        print(line)
    return 0


def _lookahead(args: argparse.Namespace) -> int:
    from .. import lookahead
    from ..engine import Engine

    engine = Engine.from_pretrained(args.model, dtype=args.dtype or "auto")
    if lookahead.find(engine) is not None and not args.again and args.out is None:
        print(f"{args.model} has a look-ahead already; --again learns it anew")
        return 0
    if args.out is not None:  # found out before minutes of learning, not after
        Path(args.out).mkdir(parents=True, exist_ok=True)
    with Bar(None, unit="topic", least=0) as bar:
        found = lookahead.learn(engine, progress=bar.update, **given(args, ("topics", "seed")))
    where = "in the cache folder"
    if args.out is not None:
        where = str(lookahead.save(engine, found, Path(args.out)))
    print(f"learned of {args.model}: {len(found.tokens):,} tokens, kept {where}")
    return 0


def _shrink(args: argparse.Namespace) -> int:
    from ..finetune.shrink import shrink

    options = given(args, ("tokens", "block_size", "dtype"))
    if args.layers is not None:
        options["layers"] = _layers(args.layers)
    print(json.dumps(shrink(args.model, args.out, poems=args.poems or (), **options)))
    return 0


def _layers(given: str) -> int | list[int]:
    try:
        numbers = [int(part) for part in given.split(",")]
    except ValueError:
        raise ValueError(f"layers {given!r} are neither a count nor like 0,4,8; mend it") from None
    return numbers if "," in given else numbers[0]


def _pack(args: argparse.Namespace) -> int:
    from ..finetune.pack import pack

    print(json.dumps(pack(args.ckpt, args.out, **given(args, ("dtype",)))))
    return 0


def _export(args: argparse.Namespace) -> int:
    from ..export import export

    print(export(args.model, args.out, **given(args, ("dtype",))))
    return 0


def add(command: Commands) -> None:
    """The commands and their arguments."""
    download = command("download", _download, "Fetch the weights of a model.")
    download.add_argument("name", metavar="NAME", help="a name of `haiku models`")
    command("models", _models, "List the models known by name.")
    learn = command(
        "lookahead", _lookahead, "Learn a model's look-ahead, for poems that end their lines well."
    )
    learn.add_argument("model", metavar="MODEL", help="a name of `haiku models`, or a path")
    learn.add_argument("--topics", type=int, metavar="N", help="to write poems of (default 24)")
    learn.add_argument("--seed", type=int, help="of the poems (default 0)")
    learn.add_argument("--dtype", help="of the weights, see `haiku write`")
    learn.add_argument("--again", action="store_true", help="though there is one already")
    learn.add_argument("--out", metavar="DIR", help="a folder to write it to as well, as shipped")

    shrink = command("shrink", _shrink, "Cut a smaller model out of a larger one, to train on.")
    shrink.add_argument("model", metavar="MODEL", help="a name or a path")
    shrink.add_argument("--out", required=True, metavar="DIR", help="where the smaller one goes")
    shrink.add_argument(
        "--layers", metavar="N", help="how many, or which, as 0,4,8 (default 9, evenly spread)"
    )
    shrink.add_argument("--tokens", type=int, metavar="N", help="at most (default 16384)")
    shrink.add_argument("--block-size", type=int, metavar="N", help="positions (default 256)")
    shrink.add_argument("--dtype", help="float16 (the default) or int8")
    shrink.add_argument(
        "--poems", action="append", metavar="FILE", help="poems whose tokens are kept; repeat"
    )
    pack = command("pack", _pack, "Make a trained model small enough to ship.")
    pack.add_argument("ckpt", metavar="CKPT", help="best.pt or ckpt.pt of `haiku finetune`")
    pack.add_argument("--out", required=True, metavar="DIR", help="where the folder goes")
    pack.add_argument("--dtype", help="int8 (the default) or float16")
    export = command("export", _export, "Write a model for transformers, nanoGPT, or as adapter.")
    export.add_argument("model", metavar="MODEL", help="name, folder, .gguf file or ckpt.pt")
    export.add_argument(
        "out", metavar="OUT",
        help="a folder for transformers, FILE.pt for nanoGPT, FILE.safetensors for the adapter of "
        "a run with --lora",
    )  # fmt: skip
    export.add_argument("--dtype", help="of the weights: float32, bfloat16 or float16")
