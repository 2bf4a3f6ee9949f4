"""The one place with numba options. Without numba what needs no vector instructions runs as plain
Python, slowly; masks need it.

Every kernel is compiled with the same options: cached on disk, releasing the GIL, IEEE arithmetic
(no fastmath: a seed must name a poem on every path). What lies on disk is known by the sources of
all kernels: numba looks at the one file that a function is in, though others are compiled into it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

try:
    import numba
except ImportError:  # pragma: no cover - numba is a dependency; this serves odd platforms
    HAVE_NUMBA = False

    def jit(function: Function) -> Function:
        """Leave the function as it is."""
        return function

    jit_borrowing = jit_into = jit

else:
    HAVE_NUMBA = True

    def _sources() -> str:
        """A sum of all kernels' sources."""
        found = hashlib.sha256()
        for file in sorted(Path(__file__).parent.glob("*.py")):
            found.update(file.name.encode() + b"\0" + file.read_bytes())
        return found.hexdigest()

    _STAMP = _sources()

    def _stamped(compiled: Function) -> Function:
        """Its cache on disk is void when any kernel's source is another."""
        kept: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
        if hasattr(kept, "_source_stamp"):
            kept._source_stamp = (kept._source_stamp, _STAMP)
        return compiled

    def jit(function: Function) -> Function:
        """Compile a kernel on its first call."""
        compiled: Function = numba.njit(
            cache=True, nogil=True, fastmath=False, error_model="numpy"
        )(function)
        return _stamped(compiled)

    def jit_borrowing(function: Function) -> Function:
        """As `jit`, for what is called a million times: no counting of references to its arrays.

        The function may not make arrays (views of what it was given are no matter).
        """
        compiled: Function = numba.njit(cache=True, nogil=True, fastmath=False, _nrt=False)(
            function
        )
        return _stamped(compiled)

    def jit_into(function: Function) -> Function:
        """As `jit`, compiled into each of its callers."""
        compiled: Function = numba.njit(
            cache=True, nogil=True, fastmath=False, error_model="numpy", inline="always"
        )(function)
        return _stamped(compiled)


@jit
def _nothing(value: int) -> int:
    return value


def get_ready() -> None:
    """What numba does once, a sixth of a second of it, before its first kernel runs."""
    _nothing(0)
