"""`haiku corpus write` and `haiku corpus select`."""

from __future__ import annotations

import argparse
from typing import Any

from .arguments import given
from .output import Bar, print_json

_RULES = ("repeated", "line_log_mass", "worst", "line", "word", "opening", "cliche", "seed")


def _corpus_write(args: argparse.Namespace) -> int:
    from ..corpus.plan import Recipe
    from ..corpus.write import write

    recipe = Recipe.load(args.recipe)
    with Bar(args.batches, unit="batch", least=1) as bar:
        done = write(
            args.out, args.batches, recipe=recipe, part=_part(args.part), progress=bar.update
        )
    print_json(done)
    return 0


def _part(given: str) -> tuple[int, int]:
    k, slash, of = given.partition("/")
    if not (slash and k.isdecimal() and of.isdecimal()):
        raise ValueError(f"part {given!r} is not like 0/2, the first of two; give it so")
    return int(k), int(of)


def _corpus_select(args: argparse.Namespace) -> int:
    from ..corpus.select import Rules, select

    rules = Rules(**given(args, _RULES))
    with Bar(None, least=1) as bar:
        figures = select(args.files, args.out, rules=rules, progress=bar.update)
    print_json(figures, indent=2)
    return 0


def add(commands: Any) -> None:
    """The command, its stages and their arguments. commands: argparse's subparsers."""
    corpus = commands.add_parser(
        "corpus", help="Write poems for a model to learn from.",
        description="Write poems for a model to learn from, and keep the better ones.",
    )  # fmt: skip
    stages = corpus.add_subparsers(dest="stage", required=True, metavar="STAGE")
    lines = stages.add_parser("write", help="let a model write, batch after batch")
    lines.set_defaults(run=_corpus_write)
    lines.add_argument(
        "--out", required=True, metavar="FILE", help="JSON lines; one that is there is gone on with"
    )
    lines.add_argument(
        "--batches", required=True, type=int, metavar="N", help="how many the file is to hold"
    )
    lines.add_argument("--recipe", metavar="FILE", help="JSON (default: the package's own)")
    lines.add_argument(
        "--part", default="0/1", metavar="K/N", help="this process writes part K of N (from 0)"
    )
    chosen = stages.add_parser("select", help="keep the poems worth learning from")
    chosen.set_defaults(run=_corpus_select)
    chosen.add_argument("files", nargs="+", metavar="FILE", help="what `haiku corpus write` wrote")
    chosen.add_argument("--out", required=True, metavar="FILE", help="where the kept ones go")
    for name, kind, about in (
        ("repeated", int, "most content words said again (default 0)"),
        ("line-log-mass", float, "least log mass a line that the form left (default -2.5)"),
        ("worst", float, "share dropped for low log p a token (default 0.2)"),
        ("line", int, "most poems with one line (default 3)"),
        ("word", float, "largest share of poems with one content word (default 0.06)"),
        ("opening", float, "the same with one pair of first words (default 0.04)"),
        ("cliche", float, "the same with one worn phrase (default 0.005)"),
        ("seed", int, "of the order in which poems are looked at (default 0)"),
    ):
        chosen.add_argument(f"--{name}", type=kind, metavar="X", help=about)
