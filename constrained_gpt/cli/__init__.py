"""The command `haiku`: parses arguments, calls the library, prints what comes back.

Holds no rules of its own: defaults and judgements are those of the functions it calls, and what
they refuse it reports in one line. Imports what a subcommand needs when it runs, so that `haiku
check` starts without torch. The console script and `python -m constrained_gpt.cli` call `main`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence

from .._version import __version__
from . import check, corpus, find, measure, models, training, write
from .arguments import Parser, Run
from .output import one_line, out_of_memory

__all__ = ["main", "parser_of"]


def parser_of() -> Parser:
    """The parser of `haiku` with all its commands."""
    parser = Parser(prog="haiku", description="Write and check haiku.")
    parser.add_argument("--version", action="version", version=f"haiku {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Run, text: str) -> Parser:
        sub: Parser = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    for room in (write, check, find, measure):
        room.add(command)
    models.add(command)
    corpus.add(commands)
    training.add(command)
    return parser


@contextlib.contextmanager
def _ending_tidily() -> Iterator[None]:
    """Meanwhile a plea to end unwinds as Ctrl-C does: no half-written file stays behind."""
    heeded = []
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            with contextlib.suppress(ValueError):  # not in the main thread
                signal.signal(number, _ended)
                heeded.append(number)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, signal.SIG_DFL)


def _ended(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `haiku`; returns the exit status. HAIKU_TRACEBACK=1 shows where an error came from."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _ending_tidily():
            args = parser_of().parse_args(argv)
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
        print(f"haiku: error: {one_line(error)}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if os.environ.get("HAIKU_TRACEBACK") or not out_of_memory(error):
            raise
        print(
            "haiku: error: there is not enough memory for this; ask for less at once, e.g. a "
            "smaller batch, fewer particles or a smaller model",
            file=sys.stderr,
        )
        return 2
