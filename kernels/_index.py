"""Reading one number of an array, with no look at whether the index is negative.

Plain indexing counts a negative index from the end, which costs a comparison and a choice at every
read; masks read little else. Nothing is checked. Called by `walk` and `boundary`; needs numba.
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic


def _number(context: Any, builder: Any, kind: Any, data: Any, offset: Any) -> Any:
    """Element `offset` of an array's data, whole numbers as 64 bits."""
    value = builder.load(builder.gep(data, [offset]))
    if isinstance(kind.dtype, types.Integer):
        return context.cast(builder, value, kind.dtype, types.intp)
    return value


def _read_as(kind: Any) -> Any:
    return types.intp if isinstance(kind.dtype, types.Integer) else kind.dtype


@intrinsic
def look(typingctx: Any, x: Any, i: Any) -> Any:
    """x[i] of a flat, contiguous array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[0]
        return _number(context, builder, kind, context.make_array(kind)(
            context, builder, args[0]).data, args[1])  # fmt: skip

    return _read_as(x)(x, types.intp), codegen


@intrinsic
def look_at(typingctx: Any, x: Any, i: Any, j: Any) -> Any:
    """x[i, j] of a contiguous table."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[0]
        array = context.make_array(kind)(context, builder, args[0])
        width = builder.extract_value(array.shape, 1)
        at = builder.add(builder.mul(args[1], width), args[2])
        return _number(context, builder, kind, array.data, at)

    return _read_as(x)(x, types.intp, types.intp), codegen


@intrinsic
def read(typingctx: Any, book: Any, table: Any, i: Any) -> Any:
    """book[book[table] + i]: number i of a table of a book (see `book`)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[0]
        data = context.make_array(kind)(context, builder, args[0]).data
        begin = _number(context, builder, kind, data, args[1])
        return _number(context, builder, kind, data, builder.add(begin, args[2]))

    return types.intp(book, types.intp, types.intp), codegen
