"""`haiku eval`."""

from __future__ import annotations

import argparse
import dataclasses

from .arguments import Commands, files_of, form_of, given
from .output import Bar, print_json

OPTIONS = ("topic", "sample", "seed")
RULES = ("kigo", "kireji", "rhyme", "dangling")


def measure(args: argparse.Namespace) -> int:
    from .. import evaluation
    from ..evaluation import plot, sources

    if args.schema:
        print(evaluation.eval_schema(), end="")
        return 0
    files = files_of(args.files)
    reference = [] if args.reference is None else [args.reference]
    files_of([*files, *reference])
    options = given(args, OPTIONS)
    options["own_prompts"] = args.own_prompts
    if args.judge is not None:
        options["judge"] = None if args.judge == "none" else args.judge
    rules = given(args, RULES)
    if args.form_loss:
        # The syllables alone, unless more is asked: that is what poems from anywhere may share.
        bare = {"kigo": "off", "kireji": "off", "rhyme": "off", "dangling": "off"}
        options["form_loss"] = dataclasses.replace(form_of(args.form or "haiku"), **bare | rules)
        options.update(given(args, ("policy",)))
    elif rules or args.form or args.policy:
        which = next(iter(rules), "form" if args.form else "policy")
        raise ValueError(f"--{which} is a rule for --form-loss; add that, or leave --{which} out")
    target = None if args.plot is None else plot.check_target(args.plot)

    def read(file: str, name: str) -> evaluation.PoemSet:
        poems = sources.load(file, args.encoding, args.column)
        return evaluation.PoemSet(name, poems, file)

    sets = [read(file, name) for file, name in zip(files, sources.names(files), strict=True)]
    for file in reference:
        options["reference"] = read(file, file)
    wanted = sum(len(one.entries) for one in sets) if options.get("judge", "") is not None else 0
    with Bar(wanted) as bar:
        found = evaluation.evaluate_poems(sets, **options, progress=bar.update)
    if target is not None:
        plot.plot(found, target)
    if args.json:
        print_json(found.to_dict())
        return 0
    if args.per_poem:
        for paragraph in found.per_poem():
            print(f"{paragraph}\n")
    print(found)
    return 0


def add(command: Commands) -> None:
    """The command and its arguments."""
    parser = command(
        "eval", measure,
        "Measure sets of poems side by side: log p, form loss, diversity, season words, copies.",
    )  # fmt: skip
    parser.add_argument(
        "files", nargs="*", metavar="FILE",
        help="poems: text with blank lines between, JSON lines as `haiku write --json` prints "
        "them, .tsv or .csv; - or none is standard input",
    )  # fmt: skip
    parser.add_argument(
        "--judge", metavar="MODEL", help="a name or a path; none: text alone (default smollm2)"
    )
    parser.add_argument(
        "--topic", metavar="TEXT", help="what the judge is told all poems are about"
    )
    parser.add_argument(
        "--own-prompts", action="store_true",
        help="judge a poem under the prompt that it carries, if it does",
    )  # fmt: skip
    parser.add_argument("--reference", metavar="FILE", help="poems that none should copy, as FILE")
    parser.add_argument(
        "--form-loss", action="store_true",
        help="recompute what the form costs: mass that the mask takes from the judge",
    )  # fmt: skip
    for name, about in (
        ("form", "haiku (the default), tanka, ... or counts such as 3-5-3"),
        ("kigo", "off (the default), any, or a season"),
        ("kireji", "off (the default), required or forbidden"),
        ("rhyme", "off (the default), perfect or identical"),
        ("dangling", "off (the default), forbidden or strict"),
        ("policy", "readings that must fit: any (the default) or all"),
    ):
        parser.add_argument(f"--{name}", help=f"of --form-loss: {about}")
    parser.add_argument(
        "--sample", type=int, metavar="N",
        help="poems of each set to measure diversity on (default: as the smallest, at most 1000)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, help="of the sample and the intervals (default 0)")
    parser.add_argument("--column", metavar="NAME", help="of .tsv and .csv (default text)")
    parser.add_argument("--encoding", default="utf-8", help="of the files (default utf-8)")
    parser.add_argument("--plot", metavar="FILE", help="draw it: .png, .svg or .pdf")
    parser.add_argument("--per-poem", action="store_true", help="print each poem's figures too")
    parser.add_argument("--json", action="store_true", help="one JSON object, poem by poem too")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of --json")
