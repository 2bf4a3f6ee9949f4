"""What threads need of each other inside compiled code: atomic numbers, and jobs handed over.

LLVM code by numba's `intrinsic`, as in `_simd`. A job is the address of compiled code and that of
its arguments, two whole numbers, so that a thread which knows neither types nor names can run it.
Called by `_team`; needs numba.
"""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from ._simd import _pointer

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)


@intrinsic
def atomic_add(typingctx: Any, array: Any, at: Any, value: Any) -> Any:
    """Add to array[at] (int64); the number that stood there. Sequentially consistent."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, at, value = args
        pointer = _pointer(context, builder, signature.args[0], array, at, _I64)
        return builder.atomic_rmw("add", pointer, value, "seq_cst")

    return types.int64(array, types.intp, types.int64), codegen


@intrinsic
def atomic_load(typingctx: Any, array: Any, at: Any) -> Any:
    """array[at] (int64) as other threads have written it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, at = args
        pointer = _pointer(context, builder, signature.args[0], array, at, _I64)
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(array, types.intp), codegen


@intrinsic
def atomic_swap(typingctx: Any, array: Any, at: Any, was: Any, new: Any) -> Any:
    """Make array[at] (int64) `new` if it is `was`; the number that stood there. Sequentially
    consistent."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, at, was, new = args
        pointer = _pointer(context, builder, signature.args[0], array, at, _I64)
        pair = builder.cmpxchg(pointer, was, new, "seq_cst", "seq_cst")
        return builder.extract_value(pair, 0)

    return types.int64(array, types.intp, types.int64, types.int64), codegen


@intrinsic
def pause(typingctx: Any) -> Any:
    """A moment's rest in a loop that looks for another thread's number."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        triple = builder.module.triple
        if triple.startswith(("x86_64", "i686")):
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), kind), [])
        elif triple.startswith(("aarch64", "arm64")):
            kind = ir.FunctionType(ir.VoidType(), [_I32])
            hint = builder.module.declare_intrinsic("llvm.aarch64.hint", (), kind)
            builder.call(hint, [ir.Constant(_I32, 1)])
        return context.get_dummy_value()

    return types.void(), codegen


_JOB = ir.FunctionType(_I64, [_I8.as_pointer(), _I64, _I64])  # arguments, thread, threads


def _lent(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """The same arrays without their counts of references: threads that share an array would write
    its count in turn, which costs a quarter of all they do."""
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = ir.Constant(array.meminfo.type, None)
        array.parent = ir.Constant(array.parent.type, None)
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):  # type: ignore[attr-defined]
        for i, part in enumerate(kind):
            lent = _lent(context, builder, part, builder.extract_value(value, i))
            value = builder.insert_value(value, lent, i)
    return value


@intrinsic
def job_of(typingctx: Any, kernel: Any, barrier: Any, args: Any) -> Any:
    """(code, data) of kernel(thread, threads, barrier, *args), for `run_job`, as long as the
    caller of this function has not returned.

    kernel: a compiled function that returns nothing, args a tuple, nothing of which is kept alive.
    """
    takes = (types.intp, types.intp, barrier, *args.types)
    wanted = kernel.get_call_type(typingctx, takes, {})
    if wanted.args != takes or wanted.return_type != types.none:
        raise TypeError(f"a team runs what takes {takes} and returns nothing, not {wanted}")

    def codegen(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        _, barrier, values = given
        barrier = _lent(context, builder, signature.args[1], barrier)
        values = _lent(context, builder, signature.args[2], values)
        compiled = kernel.dispatcher.get_compile_result(wanted)
        context.add_linking_libs([compiled.library])
        held = cgutils.alloca_once(builder, ir.LiteralStructType([barrier.type, values.type]))
        builder.store(barrier, builder.gep(held, [ir.Constant(_I32, 0)] * 2))
        second = [ir.Constant(_I32, 0), ir.Constant(_I32, 1)]
        builder.store(values, builder.gep(held, second))

        name = f"job_of.{compiled.fndesc.mangled_name}"
        code = builder.module.globals.get(name)
        if code is None:
            code = ir.Function(builder.module, _JOB, name)
            code.linkage = "internal"
            inside = ir.IRBuilder(code.append_basic_block("entry"))
            data, thread, threads = code.args
            data = inside.bitcast(data, held.type)
            found = inside.load(data)
            values = inside.extract_value(found, 1)
            own = [inside.extract_value(values, i) for i in range(len(args.types))]
            status, _ = context.call_internal_no_propagate(
                inside, compiled.fndesc, wanted,
                [thread, threads, inside.extract_value(found, 0), *own],
            )  # fmt: skip
            inside.ret(inside.zext(status.is_error, _I64))
        both = [builder.ptrtoint(code, _I64), builder.ptrtoint(held, _I64)]
        return context.make_tuple(builder, signature.return_type, both)

    both = types.UniTuple(types.int64, 2)  # type: ignore[attr-defined]
    return both(kernel, barrier, args), codegen


@intrinsic
def run_job(typingctx: Any, code: Any, data: Any, thread: Any, threads: Any) -> Any:
    """Run a job of `job_of` as one of its threads; not 0 where it failed."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code, data, thread, threads = args
        function = builder.inttoptr(code, _JOB.as_pointer())
        return builder.call(function, [builder.inttoptr(data, _I8.as_pointer()), thread, threads])

    return types.int64(types.int64, types.int64, types.intp, types.intp), codegen


# Offers the processor to another thread. Windows has it under another name (not tried there).
give_way = types.ExternalFunction(
    "SwitchToThread" if sys.platform == "win32" else "sched_yield", types.int32()
)
