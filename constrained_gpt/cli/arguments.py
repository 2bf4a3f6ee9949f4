"""What the commands' arguments have in common: one-line errors, forms, files, options given or not.

Knows argparse; no library call. Used by every file of this folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

if TYPE_CHECKING:
    from ..lexicon import Form

Run = Callable[[argparse.Namespace], int]  # a command at work; returns the exit status


class Parser(argparse.ArgumentParser):
    """An argparse that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"haiku: error: {message}; see `{self.prog} --help`\n")


class Commands(Protocol):
    """Adds a command: its name, what runs it, and a line about it."""

    def __call__(self, name: str, run: Run, text: str) -> Parser: ...


def form_of(name: str) -> Form:
    """A form by name (haiku, tanka, ...) or by its counts (3-5-3)."""
    from ..lexicon.form import FORMS, Form

    if name in FORMS:
        return FORMS[name]
    try:
        counts = [int(part) for part in name.split("-")]
    except ValueError:
        raise ValueError(
            f"form {name!r} is unknown; use {', '.join(FORMS)} or counts such as 5-7-5"
        ) from None
    return Form.of(*counts)


def given(args: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """The options that were given; the others keep the library's defaults."""
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def files_of(given: Sequence[str]) -> Sequence[str]:
    """The files to read: standard input if none is given, and that but once."""
    if list(given).count("-") > 1:
        raise ValueError("- is given twice; standard input can be read once, so give it once")
    return given or ("-",)
