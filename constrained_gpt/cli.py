"""The command `haiku`: parses arguments, calls the library, prints what comes back.

Holds no rules of its own: defaults and judgements are those of the functions it calls, and what
they refuse it reports in one line. Imports what a subcommand needs when it runs, so that `haiku
check` starts without torch. The console script and `python -m constrained_gpt.cli` call `main`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ._version import __version__

if TYPE_CHECKING:
    from .lexicon import Form, UserWords

BAR_FROM = 5  # as many poems are worth a progress bar
CLICHE_PENALTY = 3.0  # nats that --no-cliches takes for each


class _Parser(argparse.ArgumentParser):
    """An argparse that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"haiku: error: {message}; see `{self.prog} --help`\n")


def _form(name: str) -> Form:
    """A form by name (haiku, tanka, ...) or by its counts (3-5-3)."""
    from .lexicon.form import FORMS, Form

    if name in FORMS:
        return FORMS[name]
    try:
        counts = [int(part) for part in name.split("-")]
    except ValueError:
        raise ValueError(
            f"form {name!r} is unknown; use {', '.join(FORMS)} or counts such as 5-7-5"
        ) from None
    return Form.of(*counts)


def _given(args: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """The options that were given; the others keep the library's defaults."""
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _print_json(record: object, *, flush: bool = False) -> None:
    """One line of JSON; what standard output cannot encode is escaped as JSON has it."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    print(json.dumps(record, ensure_ascii=not encoding.startswith("utf")), flush=flush)


def _files(given: Sequence[str]) -> Sequence[str]:
    """The files to read: standard input if none is given, and that but once."""
    if list(given).count("-") > 1:
        raise ValueError("- is given twice; standard input can be read once, so give it once")
    return given or ("-",)


class _Failures:
    """Files that could not be read, each reported as it comes; the others go on."""

    def __init__(self) -> None:
        self.any = False

    def __enter__(self) -> _Failures:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, BrokenPipeError) or not isinstance(error, (ValueError, OSError)):
            return False
        if os.environ.get("HAIKU_TRACEBACK"):
            return False
        self.any = True
        if sys.stdout is not None:
            sys.stdout.flush()
        print(f"haiku: error: {_one_line(error)}", file=sys.stderr)
        return True


# write

_WRITE = (
    "model", "season", "kigo", "kireji", "rhyme", "dangling", "temperature", "top_k", "top_p",
    "min_p", "repetition_penalty", "lookahead", "seed", "first_line", "policy", "dtype",
)  # fmt: skip
_WRITE_WHOLE = (
    "strategy", "particles", "beams", "resample", "diversity", "batch_size",
)  # fmt: skip  # of generate(), not of stream()


def _write(args: argparse.Namespace) -> int:
    options = _given(args, _WRITE)
    if args.form is not None:
        options["form"] = _form(args.form)
    if args.kigo is not None and len(args.kigo) == 1:
        options["kigo"] = args.kigo[0]  # a name (off, any, a season) or one phrase
    whole = _given(args, _WRITE_WHOLE)
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

    from .generate import iterate

    with _Bar(args.n) as bar:
        poems = iterate(args.prompt, args.n, progress=bar.update, **options, **whole)
        for index, poem in enumerate(poems):
            with bar.aside():
                if args.json:
                    _print_json(poem.to_dict())
                else:
                    print(f"\n{poem.text}" if index else poem.text)
    return 0


def _score(args: argparse.Namespace) -> Any:
    """The score that --score, --no-cliches and --repetition ask for."""
    from .decoding.score import CLICHES, WordScore

    wanted = dict.fromkeys(CLICHES, -CLICHE_PENALTY) if args.no_cliches else {}
    for given in args.score or ():
        word, _, nats = given.rpartition("=")
        try:
            wanted[word] = float(nats)
        except ValueError:
            raise ValueError(f"--score {given!r} is not WORD=NATS; write e.g. moon=-2") from None
    return WordScore(wanted, args.repetition or 0.0)


def _write_stream(args: argparse.Namespace, options: dict[str, Any]) -> int:
    from .generate import stream

    previous = 0
    for poem, line, text in stream(args.prompt, args.n, **options):
        if args.json:
            _print_json({"poem": poem, "line": line, "text": text}, flush=True)
            continue
        if poem != previous:
            print()
        previous = poem
        print(text, flush=True)
    return 0


def _terminal(stream: Any) -> bool:
    return stream is not None and bool(stream.isatty())


class _Bar:
    """A progress bar on standard error, on a terminal only, and for no less than `least`."""

    def __init__(self, total: int | None, unit: str = "poem", least: int = BAR_FROM) -> None:
        self.total = total
        self.unit = unit
        self.wanted = (total is None or total >= least) and _terminal(sys.stderr)
        self.bar: Any = None

    def __enter__(self) -> _Bar:
        if self.wanted:
            from tqdm import tqdm

            scaled = self.unit == "B"
            self.bar = tqdm(total=self.total, unit=self.unit, unit_scale=scaled, leave=False)
        return self

    def update(self, done: int, total: int | None = None) -> None:
        """`done` of the whole are finished so far."""
        if self.bar is not None:
            if total is not None:
                self.bar.total = total
            self.bar.update(done - self.bar.n)

    def advance(self, more: int) -> None:
        """So many more are finished."""
        if self.bar is not None:
            self.bar.update(more)

    def aside(self) -> contextlib.AbstractContextManager[None]:
        """While something is printed, the bar stands back."""
        if self.bar is None:
            return contextlib.nullcontext()
        return self.bar.external_write_mode()  # type: ignore[no-any-return]

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()


# check


def _check(args: argparse.Namespace) -> int:
    from . import poems
    from .lexicon import HAIKU, Saijiki, UserWords, report_schema, validate

    if args.schema:
        print(report_schema(), end="")
        return 0
    rules = _given(args, ("kigo", "kireji", "rhyme", "dangling"))
    form = dataclasses.replace(HAIKU if args.form is None else _form(args.form), **rules)
    files = _files(args.files)
    encoding = poems.known_encoding(args.encoding)
    words = UserWords()
    ask = args.unknown == "ask"
    if args.words is not None and (os.path.lexists(args.words) or not ask):
        words = UserWords.load(args.words)
    options = _given(args, ("policy", "unknown"))
    options.update(lenient=args.lenient, words=words)
    if ask:
        options["unknown"] = _Asker(words, args.words, "-" in files)
    if args.saijiki:
        options["saijiki"] = Saijiki.from_files(*args.saijiki, base=Saijiki.default())
    validate("", form, **options)  # refuses what is wrong before anything is read
    failures = _Failures()
    valid = True
    for file in files:
        found: list[poems.Poem] = []
        with failures:
            found = poems.load(file, encoding) or [poems.Poem("", 1)]
        many = len(files) > 1 or len(found) > 1
        for number, poem in enumerate(found, 1):
            report = validate(poem.text, form, **options)
            valid = valid and report.valid
            if args.quiet and report.valid:
                continue
            if args.json:
                record = {"file": file, "poem": number, "line": poem.line, **report.to_dict()}
                _print_json(record)
                continue
            if many:
                print(f"{_place(file, poem.line)}\n{report}\n")
            else:
                print(report)
    return 2 if failures.any else 0 if valid else 1


def _place(file: str, line: int) -> str:
    return f"{'<stdin>' if file == '-' else file}:{line}:"


class _Asker:
    """Asks on the terminal how many syllables an unknown word has, once, and keeps the answer."""

    def __init__(self, words: UserWords, path: str | None, reads_stdin: bool) -> None:
        if reads_stdin or not _terminal(sys.stdin):
            raise ValueError(
                "--unknown ask needs a terminal and poems in files; use estimate, reject or --words"
            )
        sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
        self.words = words
        self.path = path
        if path is not None:
            self._keep("")  # a file that cannot be written is found out before the first question

    def __call__(self, word: str) -> tuple[int, ...]:
        from .lexicon import readings
        from .lexicon.normalize import key_of

        key = key_of(word)
        while not self.words.counts(key):
            guess = readings(word)[0].count
            print(f"How many syllables has {word!r}? [{guess}] ", end="", file=sys.stderr)
            sys.stderr.flush()
            line = sys.stdin.readline()
            if not line:  # Ctrl-D
                print(file=sys.stderr)
                raise KeyboardInterrupt
            said = line.strip() or str(guess)
            try:
                self.words.add(key, said)
            except ValueError as error:
                print(error, file=sys.stderr)
                continue
            self._keep(f"{key}\t{said}\n")
        return self.words.counts(key)

    def _keep(self, row: str) -> None:
        """Add a row to the file, on a line of its own whether or not the last one was ended."""
        if self.path is None:
            return
        with Path(self.path).open("a+b") as file:
            if row and file.tell():
                file.seek(-1, os.SEEK_END)
                row = row if file.read(1) in (b"\n", b"\r") else f"\n{row}"
            file.write(row.encode())


# find


def _find(args: argparse.Namespace) -> int:
    from .lexicon import HAIKU, find_haiku
    from .poems import known_encoding
    from .prose import Prose

    form = HAIKU if args.form is None else _form(args.form)
    options = _given(args, ("policy",))
    options["whole"] = not args.anywhere
    files = _files(args.files)
    encoding = known_encoding(args.encoding)
    find_haiku("", form, **options)  # refuses what is wrong before anything is read
    failures = _Failures()
    some = False
    with _Bar(_size(files), unit="B", least=1 << 22) as bar:
        for file in files:
            prose = Prose(file, encoding=encoding, progress=bar.advance)
            with failures:
                for haiku in find_haiku(prose, form, **options):
                    line = prose.line_at(haiku.start)
                    some = True
                    with bar.aside():
                        if args.json:
                            record = {
                                "file": file, "line": line, "start": haiku.start, "end": haiku.end,
                                "lines": haiku.lines,
                            }  # fmt: skip
                            _print_json(record)
                        else:
                            print(f"{_place(file, line)}\n{haiku.text}\n")
    return 2 if failures.any else 0 if some else 1


def _size(files: Sequence[str]) -> int | None:
    """Bytes to read in all, for the progress bar; None if nobody knows."""
    total = 0
    for file in files:
        try:
            total += 0 if file == "-" else Path(file).stat().st_size
        except OSError:
            continue  # said when it is read
    if "-" not in files:
        return total
    return 0 if _terminal(sys.stdin) else None  # no bar under what someone types


# eval

_EVAL = ("topic", "sample", "seed")
_EVAL_FORM = ("kigo", "kireji", "rhyme", "dangling")


def _eval(args: argparse.Namespace) -> int:
    from . import evaluation
    from .evaluation import plot, sources

    if args.schema:
        print(evaluation.eval_schema(), end="")
        return 0
    files = _files(args.files)
    reference = [] if args.reference is None else [args.reference]
    _files([*files, *reference])
    options = _given(args, _EVAL)
    options["own_prompts"] = args.own_prompts
    if args.judge is not None:
        options["judge"] = None if args.judge == "none" else args.judge
    rules = _given(args, _EVAL_FORM)
    if args.form_loss:
        # The syllables alone, unless more is asked: that is what poems from anywhere may share.
        bare = {"kigo": "off", "kireji": "off", "rhyme": "off", "dangling": "off"}
        options["form_loss"] = dataclasses.replace(_form(args.form or "haiku"), **bare | rules)
        options.update(_given(args, ("policy",)))
    elif rules or args.form or args.policy:
        given = next(iter(rules), "form" if args.form else "policy")
        raise ValueError(f"--{given} is a rule for --form-loss; add that, or leave --{given} out")
    target = None if args.plot is None else plot.check_target(args.plot)

    def read(file: str, name: str) -> evaluation.PoemSet:
        poems = sources.load(file, args.encoding, args.column)
        return evaluation.PoemSet(name, poems, file)

    sets = [read(file, name) for file, name in zip(files, sources.names(files), strict=True)]
    for file in reference:
        options["reference"] = read(file, file)
    wanted = sum(len(one.entries) for one in sets) if options.get("judge", "") is not None else 0
    with _Bar(wanted) as bar:
        found = evaluation.evaluate_poems(sets, **options, progress=bar.update)
    if target is not None:
        plot.plot(found, target)
    if args.json:
        _print_json(found.to_dict())
        return 0
    if args.per_poem:
        for paragraph in found.per_poem():
            print(f"{paragraph}\n")
    print(found)
    return 0


# models


def _download(args: argparse.Namespace) -> int:
    from . import registry

    print(registry.download(args.name))
    return 0


def _models(args: argparse.Namespace) -> int:
    from . import registry

    for line in registry.describe():
        print(line)
    return 0


def _lookahead(args: argparse.Namespace) -> int:
    from . import lookahead
    from .engine import Engine

    engine = Engine.from_pretrained(args.model, dtype=args.dtype or "auto")
    if lookahead.find(engine) is not None and not args.again and args.out is None:
        print(f"{args.model} has a look-ahead already; --again learns it anew")
        return 0
    with _Bar(None, unit="topic", least=0) as bar:
        found = lookahead.learn(engine, progress=bar.update, **_given(args, ("topics", "seed")))
    where = "in the cache folder"
    if args.out is not None:
        where = str(lookahead.save(engine, found, Path(args.out)))
    print(f"learned of {args.model}: {len(found.tokens):,} tokens, kept {where}")
    return 0


# fine-tuning

_PREPARE = (
    "model", "policy", "val_fraction", "test_fraction", "folds", "near", "column", "licence",
)  # fmt: skip


def _prepare(args: argparse.Namespace) -> int:
    from .finetune.prepare import prepare

    options = _given(args, _PREPARE)
    if args.form is not None:
        options["forms"] = [_form(name) for name in args.form]
    with _Bar(None) as bar:
        card = prepare(args.files, args.out, **options, progress=bar.update)
    print(json.dumps(card, ensure_ascii=False, indent=2))
    return 0


_FINETUNE = (
    "init", "budget", "lora", "lora_alpha", "max_iters", "batch_size", "block_size", "n_layer",
    "n_head", "n_embd", "dropout", "distil", "learning_rate", "state_lr", "min_lr", "warmup_iters",
    "lr_decay_iters", "weight_decay", "grad_clip", "gradient_accumulation_steps", "eval_interval",
    "eval_poems", "validity_poems", "patience", "fold", "precision", "compile", "tensorboard",
    "seed", "device",
)  # fmt: skip


def _config(args: argparse.Namespace, resume: bool = False) -> Any:
    from .finetune.train import TrainConfig

    return TrainConfig(data=args.data, out=args.out, resume=resume, **_given(args, _FINETUNE))


def _finetune(args: argparse.Namespace) -> int:
    from .finetune.train import METRICS, train

    target = None
    if args.plot is not None:
        from .evaluation.plot import check_target

        target = check_target(args.plot)
    config = _config(args, args.resume)
    with _Bar(config.max_iters, "step") as bar:

        def log(line: str) -> None:
            with bar.aside():
                print(line, file=sys.stderr, flush=True)

        result = train(config, log=log, progress=bar.update)
    if target is not None:
        from .finetune.curves import plot

        plot(Path(args.out) / METRICS, target)
    print(json.dumps(result))
    return 0


def _crossval(args: argparse.Namespace) -> int:
    from .finetune.search import crossval

    print(json.dumps(crossval(_config(args), log=_say)))
    return 0


def _tune(args: argparse.Namespace) -> int:
    from .finetune.search import tune

    print(json.dumps(tune(_config(args), args.trials, log=_say)))
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _export(args: argparse.Namespace) -> int:
    from .export import export

    print(export(args.model, args.out, **_given(args, ("dtype",))))
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from .finetune.evaluate import evaluate_files

    options = _given(args, ("split", "device", "most", "samples", "seed"))
    for model in args.model or ["smollm2"]:
        _print_json(evaluate_files(args.data, model=model, **options).to_dict(), flush=True)
    return 0


# smaller models


def _shrink(args: argparse.Namespace) -> int:
    from .finetune.shrink import shrink

    options = _given(args, ("tokens", "block_size", "dtype"))
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
    from .finetune.pack import pack

    print(json.dumps(pack(args.ckpt, args.out, **_given(args, ("dtype",)))))
    return 0


# a corpus

_RULES = ("repeated", "line_log_mass", "worst", "line", "word", "opening", "cliche", "seed")


def _corpus_write(args: argparse.Namespace) -> int:
    from .corpus.plan import Recipe
    from .corpus.write import write

    recipe = Recipe.load(args.recipe)
    with _Bar(args.batches, unit="batch", least=1) as bar:
        done = write(
            args.out, args.batches, recipe=recipe, part=_part(args.part), progress=bar.update
        )
    _print_json(done)
    return 0


def _part(given: str) -> tuple[int, int]:
    k, slash, of = given.partition("/")
    if not (slash and k.isdigit() and of.isdigit()):
        raise ValueError(f"part {given!r} is not like 0/2, the first of two; give it so")
    return int(k), int(of)


def _corpus_select(args: argparse.Namespace) -> int:
    from .corpus.select import Rules, select

    rules = Rules(**_given(args, _RULES))
    with _Bar(None, least=1) as bar:
        figures = select(args.files, args.out, rules=rules, progress=bar.update)
    print(json.dumps(figures, ensure_ascii=False, indent=2))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="haiku", description="Write and check haiku.")
    parser.add_argument("--version", action="version", version=f"haiku {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> _Parser:
        sub: _Parser = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    write = command("write", _write, "Write haiku about a theme.")
    write.add_argument(
        "prompt", metavar="PROMPT", help="what the poems are about, e.g. 'autumn rain'"
    )
    write.add_argument("-n", type=int, default=1, help="how many (default 1)")
    write.add_argument(
        "--model", help="a name of `haiku models`, a folder, a .gguf file or a ckpt.pt"
    )
    write.add_argument("--form", help="haiku, senryu, tanka, ... or counts such as 3-5-3")
    write.add_argument("--season", help="spring, summer, autumn, winter or 'new year'")
    write.add_argument(
        "--kigo", action="append", metavar="WORD",
        help="off, any, a season, or a season word; repeat to allow several words",
    )  # fmt: skip
    write.add_argument("--kireji", help="the cut: off, required or forbidden")
    write.add_argument("--rhyme", help="rhymes to avoid: off, perfect or identical")
    write.add_argument("--dangling", help="lines that end on a, the, of, ...: off or forbidden")
    write.add_argument("--first-line", metavar="TEXT", help="begin with this line")
    write.add_argument("--seed", type=int, help="a seed names the poems")
    write.add_argument("--temperature", type=float, metavar="T", help="0 takes the likeliest")
    write.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens")
    write.add_argument("--top-p", type=float, metavar="P", help="draw from the likeliest share P")
    write.add_argument(
        "--min-p", type=float, metavar="P", help="drop what is below P times the top"
    )
    write.add_argument("--repetition-penalty", type=float, metavar="X", help="1 is none")
    write.add_argument(
        "--lookahead", action=argparse.BooleanOptionalAction, default=None,
        help="see corners coming: a kigo still owed, a word that fits no more",
    )  # fmt: skip
    write.add_argument("--strategy", help="sample, smc, best or beam")
    write.add_argument(
        "--particles", type=int, metavar="N", help="of smc and best: drafts of one poem"
    )
    write.add_argument("--resample", help="of smc: ess, line or never")
    write.add_argument("--beams", type=int, metavar="N", help="of beam")
    write.add_argument(
        "--diversity", type=float, metavar="X", help="of beam: nats a token of another poem costs"
    )
    write.add_argument(
        "--score", action="append", metavar="WORD=NATS",
        help="like or dislike a word or phrase: moon=-2, 'old pond=1.5'; may be repeated",
    )  # fmt: skip
    write.add_argument(
        "--no-cliches", action="store_true", help="dislike worn turns of phrase: whispers, dance"
    )
    write.add_argument(
        "--repetition", type=float, metavar="NATS",
        help="of a content word said again on another line, e.g. -2",
    )  # fmt: skip
    write.add_argument("--policy", help="readings that must fit: all or any")
    write.add_argument(
        "--dtype", help="of the weights: int8, float32, bfloat16, float16 (default: int8 on a CPU)"
    )
    write.add_argument("--batch-size", type=int, metavar="B", help="poems written side by side")
    write.add_argument("--duplicates", action="store_true", help="allow the same poem twice")
    write.add_argument("--stream", action="store_true", help="print lines as they are finished")
    write.add_argument("--json", action="store_true", help="one JSON object a line")

    check = command("check", _check, "Check poems; exit status 1 if one is not valid.")
    check.add_argument(
        "files", nargs="*", metavar="FILE",
        help="text with blank lines between poems, or .jsonl; - or none is standard input",
    )  # fmt: skip
    check.add_argument("--form", help="haiku (the default), tanka, ... or counts such as 3-5-3")
    check.add_argument("--policy", help="any: some reading fits; all: every reading does")
    check.add_argument("--kigo", metavar="SEASON", help="a season word: off, any, or a season")
    check.add_argument("--kireji", help="a cut: off, required or forbidden")
    check.add_argument("--rhyme", help="rhymes to refuse: off, perfect (the default) or identical")
    check.add_argument("--dangling", help="lines that end on a, the, of, ...: off or forbidden")
    check.add_argument(
        "--lenient", action="store_true", help="readings that some refuse count too: file as two"
    )
    check.add_argument(
        "--unknown", choices=("estimate", "reject", "ask"),
        help="words in no dictionary: estimate (default), reject or ask",
    )  # fmt: skip
    check.add_argument(
        "--words", metavar="FILE",
        help="your own readings, a line each: `fire 1`; what `--unknown ask` learns is added",
    )  # fmt: skip
    check.add_argument(
        "--saijiki", action="append", metavar="FILE", help="season words of your own, see KIGO.md"
    )
    check.add_argument("--encoding", default="utf-8", help="of the files (default utf-8)")
    check.add_argument("--json", action="store_true", help="one JSON object a poem")
    check.add_argument("--schema", action="store_true", help="print the JSON Schema of --json")
    check.add_argument("--quiet", "-q", action="store_true", help="print only the poems that fail")

    find = command(
        "find", _find, "Find haiku nobody meant to write; exit status 1 if there are none."
    )
    find.add_argument("files", nargs="*", metavar="FILE", help="prose; - or none is standard input")
    find.add_argument("--form", help="haiku (the default), tanka, ... or counts such as 3-5-3")
    find.add_argument("--policy", help="any: some reading fits; all: every reading does")
    find.add_argument(
        "--anywhere", action="store_true", help="also runs that begin or end inside a sentence"
    )
    find.add_argument("--encoding", default="utf-8", help="of the files (default utf-8)")
    find.add_argument("--json", action="store_true", help="one JSON object a haiku")

    measure = command(
        "eval", _eval,
        "Measure sets of poems side by side: log p, form loss, diversity, season words, copies.",
    )  # fmt: skip
    measure.add_argument(
        "files", nargs="*", metavar="FILE",
        help="poems: text with blank lines between, JSON lines as `haiku write --json` prints "
        "them, .tsv or .csv; - or none is standard input",
    )  # fmt: skip
    measure.add_argument(
        "--judge", metavar="MODEL", help="a name or a path; none: text alone (default smollm2)"
    )
    measure.add_argument(
        "--topic", metavar="TEXT", help="what the judge is told all poems are about"
    )
    measure.add_argument(
        "--own-prompts", action="store_true",
        help="judge a poem under the prompt that it carries, if it does",
    )  # fmt: skip
    measure.add_argument("--reference", metavar="FILE", help="poems that none should copy, as FILE")
    measure.add_argument(
        "--form-loss", action="store_true",
        help="recompute what the form costs: mass that the mask takes from the judge",
    )  # fmt: skip
    for name, about in (
        ("form", "haiku (the default), tanka, ... or counts such as 3-5-3"),
        ("kigo", "off (the default), any, or a season"),
        ("kireji", "off (the default), required or forbidden"),
        ("rhyme", "off (the default), perfect or identical"),
        ("dangling", "off (the default) or forbidden"),
        ("policy", "readings that must fit: any (the default) or all"),
    ):
        measure.add_argument(f"--{name}", help=f"of --form-loss: {about}")
    measure.add_argument(
        "--sample", type=int, metavar="N",
        help="poems of each set to measure diversity on (default: as the smallest, at most 1000)",
    )  # fmt: skip
    measure.add_argument("--seed", type=int, help="of the sample and the intervals (default 0)")
    measure.add_argument("--column", metavar="NAME", help="of .tsv and .csv (default text)")
    measure.add_argument("--encoding", default="utf-8", help="of the files (default utf-8)")
    measure.add_argument("--plot", metavar="FILE", help="draw it: .png, .svg or .pdf")
    measure.add_argument("--per-poem", action="store_true", help="print each poem's figures too")
    measure.add_argument("--json", action="store_true", help="one JSON object, poem by poem too")
    measure.add_argument("--schema", action="store_true", help="print the JSON Schema of --json")

    download = command("download", _download, "Fetch the weights of a model.")
    download.add_argument("name", metavar="NAME", help="a name of `haiku models`")
    command("models", _models, "List the models known by name.")

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
    learn = command(
        "lookahead", _lookahead, "Learn a model's look-ahead, for poems that end their lines well."
    )
    learn.add_argument("model", metavar="MODEL", help="a name of `haiku models`, or a path")
    learn.add_argument("--topics", type=int, metavar="N", help="to write poems of (default 24)")
    learn.add_argument("--seed", type=int, help="of the poems (default 0)")
    learn.add_argument("--dtype", help="of the weights, see `haiku write`")
    learn.add_argument("--again", action="store_true", help="though there is one already")
    learn.add_argument("--out", metavar="DIR", help="a folder to write it to as well, as shipped")

    prepare = command("prepare", _prepare, "Turn files of poems into token files to train on.")
    prepare.add_argument(
        "files", nargs="+", metavar="FILE",
        help="text with blank lines, .jsonl, .csv, .tsv, .parquet, or a folder of them; - is "
        "standard input",
    )  # fmt: skip
    prepare.add_argument("--out", required=True, metavar="DIR", help="where the data goes")
    prepare.add_argument("--model", help="whose tokens to use (default smollm2)")
    prepare.add_argument(
        "--form", action="append", metavar="FORM",
        help="keep poems of this form: haiku (the default), tanka, ... or counts such as 3-5-3; "
        "repeat for several",
    )  # fmt: skip
    prepare.add_argument("--policy", help="readings that must fit: any (the default) or all")
    prepare.add_argument("--val-fraction", type=float, metavar="F", help="share that is held out")
    prepare.add_argument("--test-fraction", type=float, metavar="F", help="share that is set apart")
    prepare.add_argument("--folds", type=int, metavar="K", help="for `haiku crossval`")
    prepare.add_argument(
        "--near", type=float, metavar="X", help="likeness from which a poem counts as said before"
    )
    prepare.add_argument("--column", metavar="NAME", help="the field that holds the poem")
    prepare.add_argument("--licence", metavar="TEXT", help="of the poems, for the card")

    finetune = command("finetune", _finetune, "Train a model on prepared poems.")
    _training(finetune)
    finetune.add_argument("--plot", metavar="FILE", help="draw the curves: .png, .svg or .pdf")
    finetune.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in --out"
    )

    crossval = command("crossval", _crossval, "Train once for each fold: mean and spread.")
    _training(crossval)
    tune = command("tune", _tune, "Search for the hyper-parameters with the lowest held-out loss.")
    _training(tune)
    tune.add_argument("--trials", type=int, default=20, metavar="N", help="runs (default 20)")

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

    evaluate = command("evaluate", _evaluate, "Loss and perplexity on the held-out poems.")
    evaluate.add_argument("data", metavar="DIR", help="what `haiku prepare` wrote")
    evaluate.add_argument(
        "--model", action="append",
        help="name, folder, .gguf file or ckpt.pt (default smollm2); repeat to compare",
    )  # fmt: skip
    evaluate.add_argument(
        "--samples", type=int, metavar="N",
        help="draw N poems without a mask: how many are in form, meet season and topic (default 0)",
    )  # fmt: skip
    evaluate.add_argument("--seed", type=int, help="of the draws and the tags (default 0)")
    evaluate.add_argument("--split", help="val (the default) or test")
    evaluate.add_argument("--most", type=int, metavar="N", help="read N poems of it at most")
    evaluate.add_argument("--device", help="cpu, cuda, mps")
    return parser


def _training(sub: argparse.ArgumentParser) -> None:
    """The options of a training run."""
    sub.add_argument("data", metavar="DIR", help="what `haiku prepare` wrote")
    sub.add_argument("--out", required=True, metavar="DIR", help="where ckpt.pt goes")
    sub.add_argument("--init", metavar="MODEL", help="a name, a path, or scratch (default smollm2)")
    sub.add_argument(
        "--budget", action="store_true", default=None,
        help="tell the model which line it is in and how many syllables are left",
    )  # fmt: skip
    sub.add_argument(
        "--lora", type=int, metavar="R", help="train adapters of rank R, the rest stays"
    )
    sub.add_argument("--compile", action="store_true", default=None, help="torch.compile")
    sub.add_argument("--precision", help="auto, float32 or bfloat16")
    sub.add_argument("--device", help="cpu, cuda, mps")
    for name in (
        "learning-rate", "state-lr", "min-lr", "weight-decay", "grad-clip", "dropout", "distil",
        "lora-alpha",
    ):  # fmt: skip
        sub.add_argument(f"--{name}", type=float, metavar="X")
    for name in (
        "max-iters", "batch-size", "block-size", "n-layer", "n-head", "n-embd", "warmup-iters",
        "lr-decay-iters", "gradient-accumulation-steps", "eval-interval", "eval-poems",
        "validity-poems", "patience", "fold", "seed",
    ):  # fmt: skip
        sub.add_argument(f"--{name}", type=int, metavar="N")
    sub.add_argument(
        "--tensorboard", action="store_true", default=None, help="write OUT/tensorboard too"
    )


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        if error.filename is None:
            return error.strerror
        return f"{error.filename}: {error.strerror}; check the path"
    return " ".join(str(error).split()) or type(error).__name__


def main(argv: Sequence[str] | None = None) -> int:
    """Run `haiku`; returns the exit status. HAIKU_TRACEBACK=1 shows where an error came from."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        args = _parser().parse_args(argv)
        status: int = args.run(args)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader has gone: stop quietly, and let nothing try to flush what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + getattr(signal, "SIGPIPE", 13)
    except KeyboardInterrupt:
        print("haiku: interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError) as error:
        if os.environ.get("HAIKU_TRACEBACK"):
            raise
        print(f"haiku: error: {_one_line(error)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
