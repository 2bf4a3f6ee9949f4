"""Vector instructions that a plain loop would not get: products of bytes, fixed-order sums.

LLVM code written out by numba's `intrinsic`, so that the order of every sum is stated here and is
the same on every processor; only the instructions differ. Arrays are flat and contiguous, offsets
count elements, nothing is checked. Called by the other kernels; needs numba.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

LANES = 16  # float32 and int32 numbers taken at once, on every processor
PANEL = 64  # columns of a weight matrix that lie together
GROUP = 4  # bytes of one column that lie together

_I8, _I16, _I32, _I64, _F32 = (
    ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType(),
)  # fmt: skip


def _pointer(context: Any, builder: Any, kind: Any, value: Any, offset: Any, to: Any) -> Any:
    """Address of element `offset` of an array, as a pointer to `to`."""
    data = context.make_array(kind)(context, builder, value).data
    return builder.bitcast(builder.gep(data, [offset]), to.as_pointer())


def _load(builder: Any, pointer: Any, align: int) -> Any:
    value = builder.load(pointer)
    value.align = align
    return value


def _splat(builder: Any, scalar: Any, lanes: int) -> Any:
    vector = ir.VectorType(scalar.type, lanes)
    empty = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(empty, scalar, ir.Constant(_I32, 0))
    picks = ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
    return builder.shuffle_vector(one, empty, picks)


def _has(context: Any, feature: str) -> bool:
    features: str = context.codegen().magic_tuple()[2]
    return f"+{feature}" in features.split(",")


class _Loop:
    """for i in 0, step, 2 step .. stop with values carried round; `stop` may be 0."""

    def __init__(self, builder: Any, stop: Any, step: int, start: list[Any]) -> None:
        self.builder, self.stop, self.step = builder, stop, step
        self.before = builder.block
        self.body = builder.append_basic_block("body")
        self.after = builder.append_basic_block("after")
        some = builder.icmp_signed(">", stop, ir.Constant(_I64, 0))
        builder.cbranch(some, self.body, self.after)
        builder.position_at_end(self.body)
        self.index = builder.phi(_I64)
        self.index.add_incoming(ir.Constant(_I64, 0), self.before)
        self.start = start
        self.values = [builder.phi(v.type) for v in start]
        for phi, value in zip(self.values, start, strict=True):
            phi.add_incoming(value, self.before)

    def close(self, new: list[Any]) -> list[Any]:
        """End the body; the values after the loop."""
        builder = self.builder
        end = builder.block
        following = builder.add(self.index, ir.Constant(_I64, self.step))
        self.index.add_incoming(following, end)
        for phi, value in zip(self.values, new, strict=True):
            phi.add_incoming(value, end)
        builder.cbranch(builder.icmp_signed("<", following, self.stop), self.body, self.after)
        builder.position_at_end(self.after)
        out = []
        for first, value in zip(self.start, new, strict=True):
            phi = builder.phi(value.type)
            phi.add_incoming(first, self.before)
            phi.add_incoming(value, end)
            out.append(phi)
        return out


@intrinsic
def float_bits(typingctx: Any, value: Any) -> Any:
    """The bits of a float32 as an int32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], _I32)

    return types.int32(types.float32), codegen


@intrinsic
def bits_float(typingctx: Any, value: Any) -> Any:
    """The float32 that has the bits of an int32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], _F32)

    return types.float32(types.int32), codegen


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = a.type
    function = builder.module.declare_intrinsic(
        f"llvm.fma.v{kind.count}f32", (), ir.FunctionType(kind, [kind] * 3)
    )
    return builder.call(function, [a, b, c])


def _sum_lanes(builder: Any, vector: Any) -> Any:
    """Halves added until one number is left: the order is fixed."""
    lanes = vector.type.count
    while lanes > 1:
        lanes //= 2
        empty = ir.Constant(vector.type, ir.Undefined)
        halves = [
            builder.shuffle_vector(
                vector,
                empty,
                ir.Constant(ir.VectorType(_I32, lanes), list(range(at, at + lanes))),
            )
            for at in (0, lanes)
        ]
        vector = builder.fadd(*halves)
    return builder.extract_element(vector, ir.Constant(_I32, 0))


@intrinsic
def sum_squares(typingctx: Any, x: Any, at: Any, size: Any, less: Any) -> Any:
    """Sum of (x - less)^2 over `size` numbers (a multiple of LANES) from x[at]."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, at, size, less = args
        vector = ir.VectorType(_F32, LANES)
        shift = _splat(builder, less, LANES)
        loop = _Loop(builder, size, LANES, [ir.Constant(vector, [0.0] * LANES)])
        where = builder.add(at, loop.index)
        pointer = _pointer(context, builder, signature.args[0], array, where, vector)
        off = builder.fsub(_load(builder, pointer, 4), shift)
        (total,) = loop.close([_fma(builder, off, off, loop.values[0])])
        return _sum_lanes(builder, total)

    return types.float32(x, types.intp, types.intp, types.float32), codegen


@intrinsic
def sum_values(typingctx: Any, x: Any, at: Any, size: Any) -> Any:
    """Sum of `size` numbers (a multiple of LANES) from x[at]."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, at, size = args
        vector = ir.VectorType(_F32, LANES)
        loop = _Loop(builder, size, LANES, [ir.Constant(vector, [0.0] * LANES)])
        where = builder.add(at, loop.index)
        pointer = _pointer(context, builder, signature.args[0], array, where, vector)
        (total,) = loop.close([builder.fadd(loop.values[0], _load(builder, pointer, 4))])
        return _sum_lanes(builder, total)

    return types.float32(x, types.intp, types.intp), codegen


class _Vector:
    """LANES float32 (or int32) numbers with the operators of arithmetic, each rounded alone."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def _other(self, other: Any) -> Any:
        if isinstance(other, _Vector):
            return other.value
        kind = self.value.type
        return ir.Constant(kind, [other] * kind.count)

    def _new(self, value: Any) -> _Vector:
        return _Vector(self.builder, value)

    def __add__(self, other: Any) -> _Vector:
        return self._new(self.builder.fadd(self.value, self._other(other)))

    def __sub__(self, other: Any) -> _Vector:
        return self._new(self.builder.fsub(self.value, self._other(other)))

    def __mul__(self, other: Any) -> _Vector:
        return self._new(self.builder.fmul(self.value, self._other(other)))

    def __truediv__(self, other: Any) -> _Vector:
        return self._new(self.builder.fdiv(self.value, self._other(other)))

    def times_plus(self, factor: Any, more: Any) -> _Vector:
        """self * factor + more, rounded once."""
        return self._new(_fma(self.builder, self.value, self._other(factor), self._other(more)))

    def choose(self, test: str, bound: Any, yes: Any, no: Any) -> _Vector:
        """yes where self `test` bound holds, else no; no where self is nan."""
        holds = self.builder.fcmp_ordered(test, self.value, self._other(bound))
        return self._new(self.builder.select(holds, self._other(yes), self._other(no)))

    def rounded(self) -> _Vector:
        """To the nearest whole number, halves to even; for magnitudes below 2^22."""
        return (self + 12582912.0) - 12582912.0  # 1.5 * 2^23

    def whole(self) -> Any:
        """As int32, for whole numbers: the bare LLVM value."""
        return self.builder.fptosi(self.value, ir.VectorType(_I32, self.value.type.count))

    def exp(self) -> _Vector:
        """e^x, relative error below 2e-7; 0 below -87, held at e^88 above 88. Range reduction
        and polynomial as in Cephes' expf (Moshier)."""
        builder = self.builder
        held = self.choose("<", 88.0, self, 88.0).choose(">", -87.0, self, -87.0)
        held = held.choose("<", 88.0, held, 88.0)
        n = (held * 1.44269504088896341).rounded()
        r = n.times_plus(-0.693359375, held)
        r = n.times_plus(2.12194440e-4, r)
        p = r.times_plus(1.9875691500e-4, 1.3981999507e-3)
        for coefficient in (
            8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1,
        ):  # fmt: skip
            p = p.times_plus(r, coefficient)
        p = (p * r).times_plus(r, r) + 1.0
        ints = ir.VectorType(_I32, self.value.type.count)
        exponent = builder.add(n.whole(), ir.Constant(ints, [127] * ints.count))
        shifted = builder.shl(exponent, ir.Constant(ints, [23] * ints.count))
        power = self._new(builder.bitcast(shifted, self.value.type))
        return self.choose("<", -87.0, 0.0, p * power)


def _silu(x: _Vector) -> _Vector:
    return x / ((x * -1.0).exp() + 1.0)


def _gelu(x: _Vector) -> _Vector:
    """x Phi(x), Phi by the error function (Abramowitz and Stegun 7.1.26, error < 1.5e-7)."""
    z = x.choose("<", 0.0, x * -0.70710678118654752, x * 0.70710678118654752)
    one = z * 0.0 + 1.0
    t = one / z.times_plus(0.3275911, 1.0)
    p = t.times_plus(1.061405429, -1.453152027)
    for coefficient in (1.421413741, -0.284496736, 0.254829592):
        p = p.times_plus(t, coefficient)
    tail = p * t * (z * z * -1.0).exp() * 0.5
    return x * x.choose("<", 0.0, tail, one - tail)


def _gelu_tanh(x: _Vector) -> _Vector:
    """GPT-2's: x (1 + tanh u) / 2 = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    u = (x * x * x).times_plus(0.044715, x) * 0.7978845608028654
    return x / ((u * -2.0).exp() + 1.0)


def _elementwise(function: Any, doc: str) -> Any:
    """An intrinsic (x, at, size): x[i] = function(x[i]) for `size` numbers (whole LANES)."""

    def typed(typingctx: Any, x: Any, at: Any, size: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            array, at, size = args
            vector = ir.VectorType(_F32, LANES)
            loop = _Loop(builder, size, LANES, [])
            where = builder.add(at, loop.index)
            pointer = _pointer(context, builder, signature.args[0], array, where, vector)
            result = function(_Vector(builder, _load(builder, pointer, 4)))
            builder.store(result.value, pointer).align = 4
            loop.close([])
            return context.get_dummy_value()

        return types.void(x, types.intp, types.intp), codegen

    typed.__doc__ = doc
    return intrinsic(typed)


gelu = _elementwise(_gelu, "x[i] = GELU of x[i], by the error function.")
gelu_tanh = _elementwise(_gelu_tanh, "x[i] = GELU of x[i], as GPT-2 was trained with.")


@intrinsic
def swiglu(typingctx: Any, x: Any, gate: Any, up: Any, size: Any, out: Any, at: Any) -> Any:
    """out[at + i] = silu(x[gate + i]) * x[up + i] for `size` numbers (whole LANES)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x_, gate, up, size, out_, at = args
        kinds = signature.args
        vector = ir.VectorType(_F32, LANES)
        loop = _Loop(builder, size, LANES, [])
        a, b = (
            _load(
                builder,
                _pointer(context, builder, kinds[0], x_, builder.add(p, loop.index), vector),
                4,
            )
            for p in (gate, up)
        )
        result = _silu(_Vector(builder, a)) * _Vector(builder, b)
        pointer = _pointer(context, builder, kinds[4], out_, builder.add(at, loop.index), vector)
        builder.store(result.value, pointer).align = 4
        loop.close([])
        return context.get_dummy_value()

    whole = types.intp
    return types.void(x, whole, whole, whole, out, whole), codegen


@intrinsic
def scale_shift(
    typingctx: Any, x: Any, at: Any, size: Any, less: Any, factor: Any, gain: Any, shift: Any,
    out: Any, out_at: Any,
) -> Any:  # fmt: skip
    """out[out_at + i] = (x[at + i] - less) * factor * gain[i] + shift[i] for `size` numbers (whole
    LANES), all float32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x_, at, size, less, factor, gain_, shift_, out_, out_at = args
        kinds = signature.args
        vector = ir.VectorType(_F32, LANES)
        taken = _Vector(builder, _splat(builder, less, LANES))
        many = _Vector(builder, _splat(builder, factor, LANES))
        loop = _Loop(builder, size, LANES, [])

        def lanes(which: int, array: Any, place: Any) -> Any:
            return _pointer(context, builder, kinds[which], array, place, vector)

        value = _Vector(builder, _load(builder, lanes(0, x_, builder.add(at, loop.index)), 4))
        weight = _Vector(builder, _load(builder, lanes(5, gain_, loop.index), 4))
        more = _Vector(builder, _load(builder, lanes(6, shift_, loop.index), 4))
        result = (value - taken) * many * weight + more
        place = lanes(7, out_, builder.add(out_at, loop.index))
        builder.store(result.value, place).align = 4
        loop.close([])
        return context.get_dummy_value()

    whole = types.intp
    return types.void(
        x, whole, whole, types.float32, types.float32, gain, shift, out, whole
    ), codegen


@intrinsic
def scaled(typingctx: Any, x: Any, at: Any, size: Any, factor: Any, out: Any, out_at: Any) -> Any:
    """out[out_at + i] = x[at + i] * factor for `size` float32 (whole LANES)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x_, at, size, factor, out_, out_at = args
        kinds = signature.args
        vector = ir.VectorType(_F32, LANES)
        many = _Vector(builder, _splat(builder, factor, LANES))
        loop = _Loop(builder, size, LANES, [])
        where = _pointer(context, builder, kinds[0], x_, builder.add(at, loop.index), vector)
        result = _Vector(builder, _load(builder, where, 4)) * many
        place = builder.add(out_at, loop.index)
        pointer = _pointer(context, builder, kinds[4], out_, place, vector)
        builder.store(result.value, pointer).align = 4
        loop.close([])
        return context.get_dummy_value()

    whole = types.intp
    return types.void(x, whole, whole, types.float32, out, whole), codegen


@intrinsic
def exp_less(typingctx: Any, x: Any, size: Any, less: Any) -> Any:
    """x[i] = e^(x[i] - less) for the first `size` numbers (whole LANES)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, size, less = args
        vector = ir.VectorType(_F32, LANES)
        shift = _Vector(builder, _splat(builder, less, LANES))
        loop = _Loop(builder, size, LANES, [])
        pointer = _pointer(context, builder, signature.args[0], array, loop.index, vector)
        result = (_Vector(builder, _load(builder, pointer, 4)) - shift).exp()
        builder.store(result.value, pointer).align = 4
        loop.close([])
        return context.get_dummy_value()

    return types.void(x, types.intp, types.float32), codegen


@intrinsic
def largest(typingctx: Any, x: Any, size: Any) -> Any:
    """The largest of the first `size` float32 (whole LANES), -inf if none; nan is passed
    over."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, size = args
        vector = ir.VectorType(_F32, LANES)
        lowest = ir.Constant(vector, [float("-inf")] * LANES)
        loop = _Loop(builder, size, LANES, [lowest])
        pointer = _pointer(context, builder, signature.args[0], array, loop.index, vector)
        new = _Vector(builder, _load(builder, pointer, 4))
        old = _Vector(builder, loop.values[0])
        (top,) = loop.close([new.choose(">", old, new, old).value])
        best = _Vector(builder, top)
        lanes = LANES
        while lanes > 1:
            lanes //= 2
            empty = ir.Constant(best.value.type, ir.Undefined)
            halves = [
                _Vector(
                    builder,
                    builder.shuffle_vector(
                        best.value,
                        empty,
                        ir.Constant(ir.VectorType(_I32, lanes), list(range(at, at + lanes))),
                    ),
                )
                for at in (0, lanes)
            ]
            best = halves[0].choose(">", halves[1], halves[0], halves[1])
        return builder.extract_element(best.value, ir.Constant(_I32, 0))

    return types.float32(x, types.intp), codegen


def _sum_of_exp(builder: Any, address: Any, size: Any, stores: bool) -> tuple[Any, Any]:
    """The largest of `size` float32 (whole LANES) and the sum of e^(x - largest), these stored if
    asked; address: index -> pointer to LANES numbers."""
    vector = ir.VectorType(_F32, LANES)
    loop = _Loop(builder, size, LANES, [ir.Constant(vector, [float("-inf")] * LANES)])
    new = _load(builder, address(loop.index), 4)
    more = builder.fcmp_ordered(">", new, loop.values[0])
    (tops,) = loop.close([builder.select(more, new, loop.values[0])])
    for step in (8, 4, 2, 1):
        turned = _shuffled(builder, tops, tops, [(i + step) % LANES for i in range(LANES)])
        more = builder.fcmp_ordered(">", turned, tops)
        tops = builder.select(more, turned, tops)
    loop = _Loop(builder, size, LANES, [ir.Constant(vector, [0.0] * LANES)])
    pointer = address(loop.index)
    less = _Vector(builder, tops)
    less = less.choose(">", -3.0e38, less, -3.0e38)  # where all are -inf
    result = (_Vector(builder, _load(builder, pointer, 4)) - less).exp()
    if stores:
        builder.store(result.value, pointer).align = 4
    (total,) = loop.close([builder.fadd(loop.values[0], result.value)])
    return builder.extract_element(tops, ir.Constant(_I32, 0)), _sum_lanes(builder, total)


@intrinsic
def exp_sum(typingctx: Any, x: Any, at: Any, size: Any) -> Any:
    """x[at + i] = e^(x[at + i] - the largest) for `size` float32 (whole LANES, not all -inf); their
    sum, in the order of `sum_values`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, at, size = args
        vector = ir.VectorType(_F32, LANES)

        def address(index: Any) -> Any:
            where = builder.add(at, index)
            return _pointer(context, builder, signature.args[0], array, where, vector)

        return _sum_of_exp(builder, address, size, True)[1]

    return types.float32(x, types.intp, types.intp), codegen


@intrinsic
def exp_top_sum(typingctx: Any, x: Any, at: Any, size: Any) -> Any:
    """(top, sum of e^(x[at + i] - top)), top the largest of `size` float32 (whole LANES) from
    x[at]."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, at, size = args
        vector = ir.VectorType(_F32, LANES)

        def address(index: Any) -> Any:
            where = builder.add(at, index)
            return _pointer(context, builder, signature.args[0], array, where, vector)

        both = _sum_of_exp(builder, address, size, False)
        return context.make_tuple(builder, signature.return_type, both)

    both = types.UniTuple(types.float32, 2)  # type: ignore[attr-defined]
    return both(x, types.intp, types.intp), codegen


@intrinsic
def blank(typingctx: Any, x: Any, at: Any, count: Any) -> Any:
    """x[at + i] = -inf from `count` to the next of whole LANES."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, at, count = args
        vector, ints = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
        over = builder.and_(count, ir.Constant(_I64, LANES - 1))
        with builder.if_then(builder.icmp_signed("!=", over, ir.Constant(_I64, 0))):
            where = builder.add(at, builder.sub(count, over))
            pointer = _pointer(context, builder, signature.args[0], array, where, vector)
            many = _splat(builder, builder.trunc(over, _I32), LANES)
            held = builder.icmp_signed("<", ir.Constant(ints, list(range(LANES))), many)
            low = ir.Constant(vector, [float("-inf")] * LANES)
            builder.store(builder.select(held, _load(builder, pointer, 4), low), pointer).align = 4
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp), codegen


@intrinsic
def top_bits(typingctx: Any, x: Any, at: Any, size: Any) -> Any:
    """Bits of the largest magnitude among `size` float32 (whole LANES) from x[at], int32.

    Magnitudes are ordered as their bits are; 0x7f800000 and above: not finite.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, at, size = args
        ints = ir.VectorType(_I32, LANES)
        loop = _Loop(builder, size, LANES, [ir.Constant(ints, [0] * LANES)])
        where = builder.add(at, loop.index)
        pointer = _pointer(context, builder, signature.args[0], array, where, ints)
        bits = builder.and_(_load(builder, pointer, 4), ir.Constant(ints, [0x7FFFFFFF] * LANES))
        more = builder.icmp_unsigned(">", bits, loop.values[0])
        (top,) = loop.close([builder.select(more, bits, loop.values[0])])
        reduce = builder.module.declare_intrinsic(
            f"llvm.vector.reduce.umax.v{LANES}i32", (), ir.FunctionType(_I32, [ints])
        )
        return builder.call(reduce, [top])

    return types.int32(x, types.intp, types.intp), codegen


def _split(shift: int) -> Any:
    @intrinsic
    def split_bytes(
        typingctx: Any, x: Any, at: Any, size: Any, factor: Any, out: Any, high: Any, low: Any
    ) -> Any:
        """q = x[at + i] * factor rounded; q = 2^shift * out[high + i] + out[low + i], the low
        part in -2^(shift - 1) .. 2^(shift - 1) - 1; returns the sum of q, int32.

        x float32, out int8, `size` whole LANES; |q| < 2^(6 + shift).
        """

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x_, at, size, factor, out_, high, low = args
            kinds = signature.args
            vector, ints = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
            bytes_ = ir.VectorType(_I8, LANES)
            many = _Vector(builder, _splat(builder, factor, LANES))
            loop = _Loop(builder, size, LANES, [ir.Constant(ints, [0] * LANES)])
            where = builder.add(at, loop.index)
            pointer = _pointer(context, builder, kinds[0], x_, where, vector)
            q = (_Vector(builder, _load(builder, pointer, 4)) * many).rounded().whole()
            half = ir.Constant(ints, [1 << (shift - 1)] * LANES)
            by = ir.Constant(ints, [shift] * LANES)
            upper = builder.ashr(builder.add(q, half), by)
            lower = builder.sub(q, builder.shl(upper, by))
            for part, place in ((upper, high), (lower, low)):
                pointer = _pointer(
                    context, builder, kinds[4], out_, builder.add(place, loop.index), bytes_
                )
                builder.store(builder.trunc(part, bytes_), pointer).align = 1
            (total,) = loop.close([builder.add(loop.values[0], q)])
            reduce = builder.module.declare_intrinsic(
                f"llvm.vector.reduce.add.v{LANES}i32", (), ir.FunctionType(_I32, [ints])
            )
            return builder.call(reduce, [total])

        whole = types.intp
        return types.int32(x, whole, whole, types.float32, out, whole, whole), codegen

    return split_bytes


split_bytes_5 = _split(5)


# -- attention ----------------------------------------------------------------------------
#
# Keys and values lie as rows of float32, or of float16 in arrays of uint16 ("halves").


def _half_by_name(context: Any) -> bool:
    """Has the processor instructions for float16? All since 2013, and all but x86."""
    return _has(context, "f16c") or not _has(context, "sse2")


def _widened(context: Any, builder: Any, halves: Any) -> Any:
    """float16 as integers -> float32; infinities and nan only where the processor does it."""
    lanes = halves.type.count
    if _half_by_name(context):
        half = builder.bitcast(halves, ir.VectorType(ir.HalfType(), lanes))
        return builder.fpext(half, ir.VectorType(_F32, lanes))
    ints, floats = ir.VectorType(_I32, lanes), ir.VectorType(_F32, lanes)

    def all_of(value: int) -> Any:
        return ir.Constant(ints, [value] * lanes)

    bits = builder.zext(halves, ints)
    sign = builder.shl(builder.and_(bits, all_of(0x8000)), all_of(16))
    size = builder.shl(builder.and_(bits, all_of(0x7FFF)), all_of(13))
    scaled = builder.fmul(
        builder.bitcast(size, floats), ir.Constant(floats, [2.0**112] * lanes)
    )  # the exponents are 112 apart
    return builder.bitcast(builder.or_(builder.bitcast(scaled, ints), sign), floats)


def _narrowed(context: Any, builder: Any, floats: Any) -> Any:
    """float32 -> float16 as integers, halves to even; what is too large becomes the largest."""
    kind = floats.type
    lanes = kind.count
    held = _Vector(builder, floats)
    held = held.choose(">", 65504.0, 65504.0, held)
    held = held.choose("<", -65504.0, -65504.0, held)
    words = ir.VectorType(_I16, lanes)
    if _half_by_name(context):
        half = builder.fptrunc(held.value, ir.VectorType(ir.HalfType(), lanes))
        return builder.bitcast(half, words)
    ints = ir.VectorType(_I32, lanes)

    def all_of(value: int) -> Any:
        return ir.Constant(ints, [value] * lanes)

    bits = builder.bitcast(held.value, ints)
    sign = builder.and_(builder.lshr(bits, all_of(16)), all_of(0x8000))
    size = builder.bitcast(builder.and_(bits, all_of(0x7FFFFFFF)), kind)
    scaled = builder.bitcast(builder.fmul(size, ir.Constant(kind, [2.0**-112] * lanes)), ints)
    odd = builder.and_(builder.lshr(scaled, all_of(13)), all_of(1))
    rounded = builder.lshr(builder.add(builder.add(scaled, all_of(0xFFF)), odd), all_of(13))
    return builder.trunc(builder.or_(rounded, sign), words)


def _cached(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    """LANES numbers of a cache from element `at`, as float32."""
    if kind.dtype == types.float32:
        vector = ir.VectorType(_F32, LANES)
        return _load(builder, _pointer(context, builder, kind, array, at, vector), 4)
    words = ir.VectorType(_I16, LANES)
    halves = _load(builder, _pointer(context, builder, kind, array, at, words), 2)
    return _widened(context, builder, halves)


@intrinsic
def keep(typingctx: Any, x: Any, at: Any, size: Any, out: Any, out_at: Any) -> Any:
    """out[out_at + i] = x[at + i] for `size` numbers (whole LANES): float32 to float32 or
    halves."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x_, at, size, out_, out_at = args
        kinds = signature.args
        vector = ir.VectorType(_F32, LANES)
        loop = _Loop(builder, size, LANES, [])
        where = builder.add(at, loop.index)
        value = _load(builder, _pointer(context, builder, kinds[0], x_, where, vector), 4)
        align = 4
        if kinds[3].dtype != types.float32:
            value, align = _narrowed(context, builder, value), 2
        place = builder.add(out_at, loop.index)
        pointer = _pointer(context, builder, kinds[3], out_, place, value.type)
        builder.store(value, pointer).align = align
        loop.close([])
        return context.get_dummy_value()

    whole = types.intp
    return types.void(x, whole, whole, out, whole), codegen


@intrinsic
def fetch(typingctx: Any, x: Any, at: Any, size: Any) -> Any:
    """Ask for `size` numbers from x[at] to be brought near; they may lie outside the array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x_, at, size = args
        byte = _I8.as_pointer()
        ask = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
        )
        hints = [ir.Constant(_I32, hint) for hint in (0, 3, 1)]  # to read, into L1, data
        line = 64 // (signature.args[0].dtype.bitwidth // 8)
        loop = _Loop(builder, size, line, [])
        where = _pointer(context, builder, signature.args[0], x_, builder.add(at, loop.index), _I8)
        builder.call(ask, [where, *hints])
        loop.close([])
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp), codegen


def _shuffled(builder: Any, a: Any, b: Any, places: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(places)), places))


def _sum_lanes_of_four(builder: Any, vectors: list[Any]) -> Any:
    """`_sum_lanes` of four vectors of 16, together: <4 x float>, each sum in the same order."""
    eights = []
    for a, b in (vectors[:2], vectors[2:]):
        low = _shuffled(builder, a, b, [*range(8), *range(16, 24)])
        high = _shuffled(builder, a, b, [*range(8, 16), *range(24, 32)])
        eights.append(builder.fadd(low, high))
    blocks = [i for start in (0, 8, 16, 24) for i in range(start, start + 4)]
    fours = builder.fadd(
        _shuffled(builder, eights[0], eights[1], blocks),
        _shuffled(builder, eights[0], eights[1], [i + 4 for i in blocks]),
    )
    for step in (2, 1):
        moved = [i - i % 4 + (i + step) % 4 for i in range(16)]
        fours = builder.fadd(fours, _shuffled(builder, fours, fours, moved))
    return _shuffled(builder, fours, fours, [0, 4, 8, 12])


def _keys(queries: int, blocks: int) -> Any:
    @intrinsic
    def score_keys(
        typingctx: Any, q: Any, q_at: Any, q_stride: Any, k: Any, k_at: Any, stride: Any,
        count: Any, out: Any, out_at: Any, out_stride: Any,
    ) -> Any:  # fmt: skip
        """out[r, p] = q[r] k[p] for `queries` queries and `count` keys, p rounded up to 4.

        Query r from q_at + r * q_stride, key p from k_at + p * stride; both `stride` long, whole
        LANES * blocks. out row r from out_at + r * out_stride. q, out float32; k float32 or halves.
        """

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            q_, q_at, q_stride, k_, k_at, stride, count, out_, out_at, out_stride = args
            kinds = signature.args
            vector = ir.VectorType(_F32, LANES)
            zero = ir.Constant(vector, [0.0] * LANES)
            last = builder.sub(count, ir.Constant(_I64, 1))
            outer = _Loop(builder, count, 4, [])
            keys = []
            for j in range(4):  # beyond the last key the last again
                p = builder.add(outer.index, ir.Constant(_I64, j))
                p = builder.select(builder.icmp_signed("<", p, count), p, last)
                keys.append(builder.add(k_at, builder.mul(p, stride)))
            inner = _Loop(builder, stride, LANES * blocks, [zero] * (4 * queries))
            new = list(inner.values)
            for b in range(blocks):
                along = builder.add(inner.index, ir.Constant(_I64, LANES * b))
                ks = [
                    _cached(context, builder, kinds[3], k_, builder.add(key, along)) for key in keys
                ]
                for r in range(queries):
                    at = builder.add(q_at, builder.mul(q_stride, ir.Constant(_I64, r)))
                    at = builder.add(at, along)
                    query = _load(builder, _pointer(context, builder, kinds[0], q_, at, vector), 4)
                    for j in range(4):
                        new[4 * r + j] = _fma(builder, query, ks[j], new[4 * r + j])
            done = inner.close(new)
            for r in range(queries):
                sums = _sum_lanes_of_four(builder, done[4 * r : 4 * r + 4])
                place = builder.add(out_at, builder.mul(out_stride, ir.Constant(_I64, r)))
                place = builder.add(place, outer.index)
                pointer = _pointer(context, builder, kinds[7], out_, place, sums.type)
                builder.store(sums, pointer).align = 4
            outer.close([])
            return context.get_dummy_value()

        whole = types.intp
        return types.void(q, whole, whole, k, whole, whole, whole, out, whole, whole), codegen

    return score_keys


score_keys_4x1, score_keys_3x1 = _keys(4, 1), _keys(3, 1)
score_keys_2x1, score_keys_1x1 = _keys(2, 1), _keys(1, 1)
score_keys_4x4, score_keys_3x4 = _keys(4, 4), _keys(3, 4)
score_keys_2x4, score_keys_1x4 = _keys(2, 4), _keys(1, 4)


def _values(queries: int, blocks: int) -> Any:
    @intrinsic
    def weigh_values(
        typingctx: Any, w: Any, w_at: Any, w_stride: Any, v: Any, v_at: Any, stride: Any,
        count: Any, out: Any, out_at: Any, out_stride: Any,
    ) -> Any:  # fmt: skip
        """out[r, i] += sum over p < count of w[r, p] v[p, i], for `queries` rows r of weights and
        LANES * blocks numbers i; rows and values lie as in `score_keys`."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            w_, w_at, w_stride, v_, v_at, stride, count, out_, out_at, out_stride = args
            kinds = signature.args
            vector = ir.VectorType(_F32, LANES)
            places = []
            for r in range(queries):
                row = builder.add(out_at, builder.mul(out_stride, ir.Constant(_I64, r)))
                for b in range(blocks):
                    place = builder.add(row, ir.Constant(_I64, LANES * b))
                    places.append(_pointer(context, builder, kinds[7], out_, place, vector))
            loop = _Loop(builder, count, 1, [_load(builder, p, 4) for p in places])
            row = builder.add(v_at, builder.mul(loop.index, stride))
            values = [
                _cached(
                    context, builder, kinds[3], v_, builder.add(row, ir.Constant(_I64, LANES * b))
                )
                for b in range(blocks)
            ]
            new = []
            for r in range(queries):
                at = builder.add(w_at, builder.mul(w_stride, ir.Constant(_I64, r)))
                at = builder.add(at, loop.index)
                one = _load(builder, _pointer(context, builder, kinds[0], w_, at, _F32), 4)
                many = _splat(builder, one, LANES)
                for b in range(blocks):
                    new.append(_fma(builder, many, values[b], loop.values[r * blocks + b]))
            for total, pointer in zip(loop.close(new), places, strict=True):
                builder.store(total, pointer).align = 4
            return context.get_dummy_value()

        whole = types.intp
        return types.void(w, whole, whole, v, whole, whole, whole, out, whole, whole), codegen

    return weigh_values


weigh_values_4x4, weigh_values_3x4 = _values(4, 4), _values(3, 4)
weigh_values_2x4, weigh_values_1x4 = _values(2, 4), _values(1, 4)
weigh_values_1x1 = _values(1, 1)

# -- products of bytes ------------------------------------------------------------------
#
# A "product" takes 16 columns: `start` is a list of empty sums, `load` brings 64 weights from
# memory (once for all rows), `times` adds their products with four bytes of a row, `total`
# makes 16 int32 of the sums.


class _Dot:
    """AVX-512 VNNI: one instruction multiplies 64 bytes and adds them by fours."""

    rows, blocks = 6, 4  # sums held in registers at a time: 24 of 32

    def __init__(self, builder: Any) -> None:
        from llvmlite.binding import llvm_version_info

        self.builder = builder
        self.vector = ir.VectorType(_I32, 16)
        # Up to LLVM 21 the bytes were passed as <16 x i32>.
        self.takes = ir.VectorType(_I8, 64) if llvm_version_info[0] >= 22 else self.vector
        kind = ir.FunctionType(self.vector, [self.vector, self.takes, self.takes])
        self.dot = builder.module.declare_intrinsic("llvm.x86.avx512.vpdpbusd.512", (), kind)
        self.start = [ir.Constant(self.vector, [0] * 16)]

    def load(self, weights: Any) -> Any:
        return self.builder.bitcast(weights, self.takes)

    def times(self, sums: list[Any], weights: Any, four: Any) -> list[Any]:
        many = self.builder.bitcast(_splat(self.builder, four, 16), self.takes)
        return [self.builder.call(self.dot, [sums[0], weights, many])]

    def total(self, sums: list[Any]) -> Any:
        return sums[0]


class _Pairs:
    """Everywhere else: 16-bit factors, neighbours added (vpmaddwd on AVX2, by name)."""

    rows, blocks = 2, 1

    def __init__(self, builder: Any, avx2: bool) -> None:
        self.builder = builder
        self.words, self.sums = ir.VectorType(_I16, 16), ir.VectorType(_I32, 8)
        self.madd = None
        if avx2:
            kind = ir.FunctionType(self.sums, [self.words, self.words])
            self.madd = builder.module.declare_intrinsic("llvm.x86.avx2.pmadd.wd", (), kind)
        self.start = [ir.Constant(self.sums, [0] * 8)] * 4

    def _pick(self, vector: Any, places: list[int]) -> Any:
        empty = ir.Constant(vector.type, ir.Undefined)
        chosen = ir.Constant(ir.VectorType(_I32, len(places)), places)
        return self.builder.shuffle_vector(vector, empty, chosen)

    def load(self, weights: Any) -> Any:
        quarters = [self._pick(weights, list(range(16 * i, 16 * i + 16))) for i in range(4)]
        return [self.builder.zext(q, self.words) for q in quarters]

    def times(self, sums: list[Any], weights: Any, four: Any) -> list[Any]:
        builder = self.builder
        narrow = builder.bitcast(four, ir.VectorType(_I8, 4))
        words = builder.sext(narrow, ir.VectorType(_I16, 4))
        many = self._pick(words, [0, 1, 2, 3] * 4)
        return [
            builder.add(s, self._neighbours(w, many)) for s, w in zip(sums, weights, strict=True)
        ]

    def _neighbours(self, a: Any, b: Any) -> Any:
        if self.madd is not None:
            return self.builder.call(self.madd, [a, b])
        wide = ir.VectorType(_I32, 16)
        products = self.builder.mul(self.builder.sext(a, wide), self.builder.sext(b, wide))
        even, odd = (self._pick(products, list(range(i, 16, 2))) for i in (0, 1))
        return self.builder.add(even, odd)

    def total(self, sums: list[Any]) -> Any:
        builder = self.builder
        parts = []
        for a, b in zip(sums[::2], sums[1::2], strict=True):
            for first in (0, 1):
                places = ir.Constant(ir.VectorType(_I32, 8), list(range(first, 16, 2)))
                parts.append(builder.shuffle_vector(a, b, places))
        low, high = builder.add(parts[0], parts[1]), builder.add(parts[2], parts[3])
        every = ir.Constant(ir.VectorType(_I32, 16), list(range(16)))
        return builder.shuffle_vector(low, high, every)


def _bytes_product(context: Any, builder: Any) -> Any:
    if _has(context, "avx512vnni") and _has(context, "avx512f"):
        return _Dot(builder)
    return _Pairs(builder, _has(context, "avx2"))


def _panel(rows: int) -> Any:
    @intrinsic
    def panel_product(
        typingctx: Any, x: Any, x_at: Any, x_stride: Any, w: Any, w_at: Any, groups: Any,
        out: Any,
    ) -> Any:  # fmt: skip
        """out[m, c] = sum of x[m] w[c] for `rows` rows and the PANEL columns of a panel.

        x int8, row m from x_at + m * x_stride; w uint8, packed (groups, PANEL, GROUP), from
        w_at; out int32 (rows, PANEL), from its beginning.
        """

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x_, x_at, x_stride, w_, w_at, groups, out_ = args
            kinds = signature.args
            v16, v64 = ir.VectorType(_I32, 16), ir.VectorType(_I8, 64)
            product = _bytes_product(context, builder)
            width = len(product.start)
            for top in range(0, rows, product.rows):
                mine = range(top, min(top + product.rows, rows))
                for first in range(0, PANEL // LANES, product.blocks):
                    blocks = range(first, first + product.blocks)
                    pairs = [(m, b) for m in mine for b in blocks]
                    loop = _Loop(builder, groups, 1, product.start * len(pairs))
                    w_row = builder.add(
                        w_at, builder.mul(loop.index, ir.Constant(_I64, PANEL * GROUP))
                    )
                    weights = {}
                    for b in blocks:
                        place = builder.add(w_row, ir.Constant(_I64, LANES * GROUP * b))
                        pointer = _pointer(context, builder, kinds[3], w_, place, v64)
                        weights[b] = product.load(_load(builder, pointer, 1))
                    x_col = builder.add(x_at, builder.mul(loop.index, ir.Constant(_I64, GROUP)))
                    fours = {}
                    for m in mine:
                        place = builder.add(x_col, builder.mul(x_stride, ir.Constant(_I64, m)))
                        pointer = _pointer(context, builder, kinds[0], x_, place, _I32)
                        fours[m] = _load(builder, pointer, 1)
                    new: list[Any] = []
                    for i, (m, b) in enumerate(pairs):
                        sums = loop.values[i * width : (i + 1) * width]
                        new += product.times(sums, weights[b], fours[m])
                    done = loop.close(new)
                    for i, (m, b) in enumerate(pairs):
                        total = product.total(done[i * width : (i + 1) * width])
                        place = ir.Constant(_I64, PANEL * m + LANES * b)
                        pointer = _pointer(context, builder, kinds[6], out_, place, v16)
                        builder.store(total, pointer).align = 4
            return context.get_dummy_value()

        whole = types.intp
        return types.void(x, whole, whole, w, whole, whole, out), codegen

    return panel_product


panel_product_6, panel_product_4, panel_product_2 = _panel(6), _panel(4), _panel(2)


@intrinsic
def tiles_open(typingctx: Any, layout: Any) -> Any:
    """Lay out this thread's AMX tiles as layout says (uint8 (64,), see `tile_layout`)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if _has(context, "amx-int8"):
            zero = ir.Constant(_I64, 0)
            pointer = _pointer(context, builder, signature.args[0], args[0], zero, _I8)
            kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer()])
            load = builder.module.declare_intrinsic("llvm.x86.ldtilecfg", (), kind)
            builder.call(load, [pointer])
        return context.get_dummy_value()

    return types.void(layout), codegen


@intrinsic
def tiles_close(typingctx: Any) -> Any:
    """Let go of this thread's AMX tiles."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if _has(context, "amx-int8"):
            kind = ir.FunctionType(ir.VoidType(), [])
            release = builder.module.declare_intrinsic("llvm.x86.tilerelease", (), kind)
            builder.call(release, [])
        return context.get_dummy_value()

    return types.void(), codegen


TILE_ROWS = 16  # rows of bytes that a tile holds
_REQUEST, _TILE_DATA = 0x1023, 18  # ARCH_REQ_XCOMP_PERM and the feature's number, asm/prctl.h
_ARCH_PRCTL = 158  # its system call on x86-64 Linux


def tile_layout() -> np.ndarray:
    """All eight tiles 16 rows of 64 bytes, as ldtilecfg reads it: uint8 (64,); zeros where the
    processor has no AMX-INT8, or the system does not lend it to this process."""
    layout = np.zeros(64, np.uint8)
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    if not {"+amx-int8", "+amx-tile"} <= set(features) or sys.platform != "linux":
        return layout
    if os.environ.get("CONSTRAINED_GPT_AMX") == "0":
        return layout
    if ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST, _TILE_DATA) != 0:
        return layout
    layout[0] = 1  # palette
    layout[16:32].view(np.uint16)[:] = 64
    layout[48:56] = TILE_ROWS
    return layout


def _tiles(high: int, wide: int) -> Any:
    @intrinsic
    def panel_tiles(
        typingctx: Any, x: Any, x_at: Any, x_stride: Any, w: Any, w_at: Any, groups: Any, out: Any
    ) -> Any:
        """As `panel_product`, for `high` times TILE_ROWS rows, by AMX, `wide` times LANES columns
        at a time: out int32 (high * TILE_ROWS, PANEL).

        Between `tiles_open` and `tiles_close`, where the processor has AMX-INT8; elsewhere it
        does nothing. `groups` a multiple of 16.
        """

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            if not _has(context, "amx-int8"):
                return context.get_dummy_value()
            x_, x_at, x_stride, w_, w_at, groups, out_ = args
            kinds = signature.args
            nothing, byte = ir.VoidType(), _I8.as_pointer()

            def instruction(name: str, *takes: Any) -> Any:
                kind = ir.FunctionType(nothing, takes)
                return builder.module.declare_intrinsic(f"llvm.x86.{name}", (), kind)

            clear = instruction("tilezero", _I8)
            load = instruction("tileloadd64", _I8, byte, _I64)
            store = instruction("tilestored64", _I8, byte, _I64)
            times = instruction("tdpbsud", _I8, _I8, _I8)  # rows signed, weights unsigned
            tile = [ir.Constant(_I8, i) for i in range(8)]
            sums = {(h, c): tile[h * wide + c] for h in range(high) for c in range(wide)}
            spare = tile[high * wide :]
            rows, weights = spare[:high], spare[high:]
            stride = ir.Constant(_I64, PANEL * GROUP)
            panel = builder.mul(groups, stride)
            fetch = builder.module.declare_intrinsic(
                "llvm.prefetch", [byte], ir.FunctionType(nothing, [byte, _I32, _I32, _I32])
            )
            hints = [ir.Constant(_I32, hint) for hint in (0, 2, 1)]  # to read, into L2, data
            for first in range(0, PANEL // LANES, wide):
                for s in sums.values():
                    builder.call(clear, [s])
                loop = _Loop(builder, groups, 16, [])
                along = builder.add(x_at, builder.mul(loop.index, ir.Constant(_I64, GROUP)))
                for h in range(high):
                    down = builder.mul(x_stride, ir.Constant(_I64, TILE_ROWS * h))
                    where = _pointer(context, builder, kinds[0], x_, builder.add(along, down), _I8)
                    builder.call(load, [rows[h], where, x_stride])
                row = builder.add(w_at, builder.mul(loop.index, stride))
                for line in range(TILE_ROWS * wide):  # the same of the next panel, on its way
                    down, across = divmod(line, wide)
                    ahead = PANEL * GROUP * down + LANES * GROUP * (first + across)
                    at = builder.add(builder.add(row, panel), ir.Constant(_I64, ahead))
                    where = _pointer(context, builder, kinds[3], w_, at, _I8)
                    builder.call(fetch, [where, *hints])
                for c in range(wide):
                    at = builder.add(row, ir.Constant(_I64, LANES * GROUP * (first + c)))
                    mine = weights[c % len(weights)]
                    where = _pointer(context, builder, kinds[3], w_, at, _I8)
                    builder.call(load, [mine, where, stride])
                    for h in range(high):
                        builder.call(times, [sums[h, c], rows[h], mine])
                loop.close([])
                for (h, c), s in sums.items():
                    at = ir.Constant(_I64, PANEL * TILE_ROWS * h + LANES * (first + c))
                    where = _pointer(context, builder, kinds[6], out_, at, _I8)
                    builder.call(store, [s, where, ir.Constant(_I64, 4 * PANEL)])
            return context.get_dummy_value()

        whole = types.intp
        return types.void(x, whole, whole, w, whole, whole, out), codegen

    return panel_tiles


panel_tiles_16, panel_tiles_32 = _tiles(1, 4), _tiles(2, 2)


def _weighed(adds: bool) -> Any:
    @intrinsic
    def weigh_panel(
        typingctx: Any, acc: Any, acc_at: Any, less: Any, factor: Any, scales: Any, bias: Any,
        at: Any, out: Any, out_at: Any,
    ) -> Any:  # fmt: skip
        """out[out_at + c] = (32 acc[acc_at + c] + acc[acc_at + PANEL + c] - less) * (factor *
        scales[at + c]) + bias[at + c] for the PANEL columns of a row of `panel_product`; added to
        what stands there if `adds`.

        acc int32, whole numbers modulo 2^32; the others float32.
        """

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            acc_, acc_at, less, factor, scales_, bias_, at, out_, out_at = args
            kinds = signature.args
            floats, ints = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
            taken = _splat(builder, less, LANES)
            many = _Vector(builder, _splat(builder, factor, LANES))
            five = ir.Constant(ints, [5] * LANES)

            def lanes(which: int, array: Any, place: Any, shift: int, kind: Any) -> Any:
                where = builder.add(place, ir.Constant(_I64, shift))
                return _pointer(context, builder, kinds[which], array, where, kind)

            for c in range(0, PANEL, LANES):
                high = _load(builder, lanes(0, acc_, acc_at, c, ints), 4)
                low = _load(builder, lanes(0, acc_, acc_at, PANEL + c, ints), 4)
                whole = builder.sub(builder.add(builder.shl(high, five), low), taken)
                value = _Vector(builder, builder.sitofp(whole, floats))
                scale = _Vector(builder, _load(builder, lanes(4, scales_, at, c, floats), 4))
                shift = _Vector(builder, _load(builder, lanes(5, bias_, at, c, floats), 4))
                result = value * (many * scale) + shift
                place = lanes(7, out_, out_at, c, floats)
                if adds:
                    result = _Vector(builder, _load(builder, place, 4)) + result
                builder.store(result.value, place).align = 4
            return context.get_dummy_value()

        whole = types.intp
        return types.void(
            acc, whole, types.int32, types.float32, scales, bias, whole, out, whole
        ), codegen

    return weigh_panel


weigh_panel, add_panel = _weighed(False), _weighed(True)


@intrinsic
def row_product(typingctx: Any, x: Any, x_at: Any, w: Any, w_at: Any, size: Any) -> Any:
    """Sum of x[i] w[i] over `size` bytes (a multiple of 64): x int8, w uint8; int32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x_, x_at, w_, w_at, size = args
        kinds = signature.args
        v64, wide = ir.VectorType(_I8, 64), ir.VectorType(_I32, 64)
        loop = _Loop(builder, size, 64, [ir.Constant(_I32, 0)])
        a = _load(
            builder,
            _pointer(context, builder, kinds[0], x_, builder.add(x_at, loop.index), v64),
            1,
        )
        b = _load(
            builder,
            _pointer(context, builder, kinds[2], w_, builder.add(w_at, loop.index), v64),
            1,
        )
        products = builder.mul(builder.sext(a, wide), builder.zext(b, wide))
        add = builder.module.declare_intrinsic(
            "llvm.vector.reduce.add.v64i32", (), ir.FunctionType(_I32, [wide])
        )
        total = builder.add(loop.values[0], builder.call(add, [products]))
        return loop.close([total])[0]

    whole = types.intp
    return types.int32(x, whole, w, whole, whole), codegen
