"""What the commands print with: JSON, errors in a line, a progress bar that knows when to be there.

Knows streams; no library call. Used by every file of this folder.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from typing import Any

BAR_FROM = 5  # as many poems are worth a progress bar


def print_json(record: object, *, flush: bool = False, indent: int | None = None) -> None:
    """JSON, in one line if not indented; what standard output cannot encode is escaped as JSON has
    it, and what is no number is null, for JSON knows no NaN."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    wide = encoding.startswith("utf")
    print(json.dumps(_finite(record), ensure_ascii=not wide, indent=indent), flush=flush)


def _finite(record: Any) -> Any:
    if isinstance(record, dict):
        return {name: _finite(value) for name, value in record.items()}
    if isinstance(record, (list, tuple)):
        return [_finite(value) for value in record]
    return None if isinstance(record, float) and not math.isfinite(record) else record


def say(line: str) -> None:
    """A line on standard error."""
    print(line, file=sys.stderr, flush=True)


def place(file: str, line: int) -> str:
    """Where a poem stands, as compilers say it."""
    return f"{'<stdin>' if file == '-' else file}:{line}:"


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks."""
    if isinstance(error, OSError) and error.strerror:
        if error.filename is None:
            return error.strerror
        return f"{error.filename}: {error.strerror}; check the path"
    return " ".join(str(error).split()) or type(error).__name__


def out_of_memory(error: BaseException) -> bool:
    """Did an allocation fail? torch says so in words: of a processor's, in a plain RuntimeError."""
    said = str(error)
    return isinstance(error, MemoryError) or "allocate memory" in said or "out of memory" in said


class Failures:
    """Files that could not be read, each reported as it comes; the others go on."""

    def __init__(self) -> None:
        self.any = False

    def __enter__(self) -> Failures:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, BrokenPipeError) or not isinstance(error, (ValueError, OSError)):
            return False
        if os.environ.get("HAIKU_TRACEBACK"):
            return False
        self.any = True
        if sys.stdout is not None:
            sys.stdout.flush()
        print(f"haiku: error: {one_line(error)}", file=sys.stderr)
        return True


def terminal(stream: Any) -> bool:
    """Does a person sit there?"""
    return stream is not None and bool(stream.isatty())


class Bar:
    """A progress bar on standard error, on a terminal only, and for no less than `least`."""

    def __init__(self, total: int | None, unit: str = "poem", least: int = BAR_FROM) -> None:
        self.total = total
        self.unit = unit
        self.wanted = (total is None or total >= least) and terminal(sys.stderr)
        self.bar: Any = None

    def __enter__(self) -> Bar:
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
