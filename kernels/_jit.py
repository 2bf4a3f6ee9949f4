"""The one place with numba options. Without numba the kernels run as plain Python, slowly.

Every kernel is compiled with the same options: cached on disk, releasing the GIL, IEEE arithmetic
(no fastmath: a seed must name a poem on every path).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

try:
    import numba
except ImportError:  # pragma: no cover - numba is a dependency; this serves odd platforms
    HAVE_NUMBA = False

    def jit(function: Function) -> Function:
        """Leave the function as it is."""
        return function

    jit_borrowing = jit

else:
    HAVE_NUMBA = True

    def jit(function: Function) -> Function:
        """Compile a kernel on its first call."""
        compiled: Function = numba.njit(
            cache=True, nogil=True, fastmath=False, error_model="numpy"
        )(function)
        return compiled

    def jit_borrowing(function: Function) -> Function:
        """As `jit`, for what is called a million times: no counting of references to its arrays.

        The function may not make arrays (views of what it was given are no matter).
        """
        compiled: Function = numba.njit(cache=True, nogil=True, fastmath=False, _nrt=False)(
            function
        )
        return compiled
