"""`haiku write`."""

from __future__ import annotations

import argparse
from typing import Any

from .arguments import Commands, form_of, given
from .output import Bar, print_json

CLICHE_PENALTY = 3.0  # nats that --no-cliches takes for each
OPTIONS = (
    "model", "season", "kigo", "kireji", "rhyme", "dangling", "temperature", "top_k", "top_p",
    "min_p", "repetition_penalty", "lookahead", "seed", "first_line", "policy", "dtype",
)  # fmt: skip
WHOLE = (
    "strategy", "particles", "beams", "resample", "diversity", "batch_size",
)  # fmt: skip  # of generate(), not of stream()


def write(args: argparse.Namespace) -> int:
    options = given(args, OPTIONS)
    if args.form is not None:
        options["form"] = form_of(args.form)
    if args.kigo is not None and len(args.kigo) == 1:
        options["kigo"] = args.kigo[0]  # a name (off, any, a season) or one phrase
    whole = given(args, WHOLE)
    if args.score or args.no_cliches or args.repetition is not None:
        whole["score"] = _score(args)
    if args.stream:
        if whole:
            option = "--" + next(iter(whole)).replace("_", "-")
            raise ValueError(f"--stream writes one poem at a time; leave out {option}")
        return _write_stream(args, options)
    if args.duplicates:
        options["unique"] = False
    options["return_weights"] = args.json

    from ..generate import iterate

    with Bar(args.n) as bar:
        poems = iterate(args.prompt, args.n, progress=bar.update, **options, **whole)
        for index, poem in enumerate(poems):
            with bar.aside():
                if args.json:
                    print_json(poem.to_dict())
                else:
                    print(f"\n{poem.text}" if index else poem.text)
    return 0


def _score(args: argparse.Namespace) -> Any:
    """The score that --score, --no-cliches and --repetition ask for."""
    from ..decoding.score import CLICHES, WordScore

    wanted = dict.fromkeys(CLICHES, -CLICHE_PENALTY) if args.no_cliches else {}
    for said in args.score or ():
        word, _, nats = said.rpartition("=")
        try:
            wanted[word] = float(nats)
        except ValueError:
            raise ValueError(f"--score {said!r} is not WORD=NATS; write e.g. moon=-2") from None
    return WordScore(wanted, args.repetition or 0.0)


def _write_stream(args: argparse.Namespace, options: dict[str, Any]) -> int:
    from ..generate import stream

    previous = 0
    for poem, line, text in stream(args.prompt, args.n, **options):
        if args.json:
            print_json({"poem": poem, "line": line, "text": text}, flush=True)
            continue
        if poem != previous:
            print()
        previous = poem
        print(text, flush=True)
    return 0


def add(command: Commands) -> None:
    """The command and its arguments."""
    parser = command("write", write, "Write haiku about a theme.")
    parser.add_argument(
        "prompt", metavar="PROMPT", help="what the poems are about, e.g. 'autumn rain'"
    )
    parser.add_argument("-n", type=int, default=1, help="how many (default 1)")
    parser.add_argument(
        "--model", help="a name of `haiku models`, a folder, a .gguf file or a ckpt.pt"
    )
    parser.add_argument("--form", help="haiku, senryu, tanka, ... or counts such as 3-5-3")
    parser.add_argument("--season", help="spring, summer, autumn, winter or 'new year'")
    parser.add_argument(
        "--kigo", action="append", metavar="WORD",
        help="off, any, a season, or a season word; repeat to allow several words",
    )  # fmt: skip
    parser.add_argument("--kireji", help="the cut: off, required or forbidden")
    parser.add_argument("--rhyme", help="rhymes to avoid: off, perfect or identical")
    parser.add_argument(
        "--dangling",
        help="lines that end on a, the, of: off, forbidden, or strict (nor on it, like)",
    )
    parser.add_argument("--first-line", metavar="TEXT", help="begin with this line")
    parser.add_argument("--seed", type=int, help="a seed names the poems")
    parser.add_argument("--temperature", type=float, metavar="T", help="0 takes the likeliest")
    parser.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens")
    parser.add_argument("--top-p", type=float, metavar="P", help="draw from the likeliest share P")
    parser.add_argument(
        "--min-p", type=float, metavar="P", help="drop what is below P times the top"
    )
    parser.add_argument("--repetition-penalty", type=float, metavar="X", help="1 is none")
    parser.add_argument(
        "--lookahead", action=argparse.BooleanOptionalAction, default=None,
        help="see corners coming: a kigo still owed, a word that fits no more",
    )  # fmt: skip
    parser.add_argument("--strategy", help="sample, smc, best or beam")
    parser.add_argument(
        "--particles", type=int, metavar="N", help="of smc and best: drafts of one poem"
    )
    parser.add_argument("--resample", help="of smc: ess, line or never")
    parser.add_argument("--beams", type=int, metavar="N", help="of beam")
    parser.add_argument(
        "--diversity", type=float, metavar="X", help="of beam: nats a token of another poem costs"
    )
    parser.add_argument(
        "--score", action="append", metavar="WORD=NATS",
        help="like or dislike a word or phrase: moon=-2, 'old pond=1.5'; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--no-cliches", action="store_true", help="dislike worn turns of phrase: whispers, dance"
    )
    parser.add_argument(
        "--repetition", type=float, metavar="NATS",
        help="of a content word said again on another line, e.g. -2",
    )  # fmt: skip
    parser.add_argument("--policy", help="readings that must fit: all or any")
    parser.add_argument(
        "--dtype",
        help="of the weights: int8, float32, bfloat16, float16 (default: int8; bfloat16 on a GPU)",
    )
    parser.add_argument("--batch-size", type=int, metavar="B", help="poems written side by side")
    parser.add_argument("--duplicates", action="store_true", help="allow the same poem twice")
    parser.add_argument("--stream", action="store_true", help="print lines as they are finished")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
