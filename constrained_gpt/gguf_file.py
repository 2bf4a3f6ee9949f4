"""Reads GGUF files: header, metadata, tensors dequantised to float32.

Knows the file format; knows no model, no tokenizer. Called by `checkpoint`. Every length, count and
offset in the header is checked against the file's size before anything is allocated for it.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


class GGUFError(ValueError):
    """The file is not a GGUF file that can be read; the message says where and what to do."""


_SCALARS: dict[int, str] = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
_DTYPES: dict[int, str] = {
    0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8",
    11: "<i8", 12: "<f8",
}  # fmt: skip
_STRING, _ARRAY = 8, 9

# ggml type -> (name, elements per block, bytes per block)
_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210),
    30: ("BF16", 1, 2),
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies in the file. `shape` is in row-major order, as numpy and torch have
    it."""

    name: str
    shape: tuple[int, ...]
    kind: str
    offset: int
    n_bytes: int


class GGUFFile:
    """A GGUF file, mapped into memory: `.metadata`, `.tensors`, `.tensor(name)`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with self.path.open("rb") as file:
            self._size = os.fstat(file.fileno()).st_size
            if self._size < 24:
                raise self._error(f"it has only {self._size} bytes")
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._at = 0
        if self._data[:4] != b"GGUF":
            raise self._error("it does not begin with 'GGUF'")
        self._at = 4
        version = self._unpack("<I")
        if version not in (2, 3):
            raise self._error(
                f"its version is {version}; versions 2 and 3 of little-endian files can be read"
            )
        n_tensors, n_keys = self._unpack("<Q"), self._unpack("<Q")
        self._fits(n_tensors, 24, "tensors")
        self._fits(n_keys, 13, "metadata keys")
        self.metadata: dict[str, Any] = {}
        for _ in range(n_keys):
            key = self._string()
            if key in self.metadata:
                raise self._error(f"metadata key {key[:80]!r} is there twice")
            self.metadata[key] = self._value(self._unpack("<I"))
        self.tensors: dict[str, TensorInfo] = self._tensor_infos(n_tensors)

    # -- header -----------------------------------------------------------------------------------

    def _error(self, what: str) -> GGUFError:
        return GGUFError(
            f"{self.path}: cannot be read as GGUF: {what}; the file is damaged or truncated: "
            "fetch it again"
        )

    def _fits(self, count: int, item: int, what: str) -> None:
        if count > (self._size - self._at) // item:
            raise self._error(
                f"its header counts {count} {what} at byte {self._at}, more than its {self._size} "
                "bytes can hold"
            )

    def _unpack(self, fmt: str) -> Any:
        n = struct.calcsize(fmt)
        if self._at + n > self._size:
            raise self._error(f"its header ends at byte {self._size}, inside a field")
        (value,) = struct.unpack_from(fmt, self._data, self._at)
        self._at += n
        return value

    def _string(self) -> str:
        n = self._unpack("<Q")
        self._fits(n, 1, "letters in a name")
        raw = self._data[self._at : self._at + n]
        self._at += n
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise self._error(f"the text at byte {self._at - n} is not UTF-8") from None

    def _strings(self, count: int) -> list[str]:
        """As `_string` many times, faster: a vocabulary has some hundred thousand."""
        self._fits(count, 8, "strings")
        length = struct.Struct("<Q").unpack_from
        data, size, at = self._data, self._size, self._at
        found: list[str] = []
        try:
            for _ in range(count):
                end = at + 8 + length(data, at)[0]
                if end > size:
                    raise self._error(f"a text at byte {at} would end at byte {end}")
                found.append(data[at + 8 : end].decode())
                at = end
        except struct.error:
            raise self._error(f"its header ends at byte {size}, inside a list of texts") from None
        except UnicodeDecodeError:
            raise self._error(f"the text at byte {at} is not UTF-8") from None
        self._at = at
        return found

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind in _SCALARS:
            return self._unpack(_SCALARS[kind])
        if kind != _ARRAY:
            raise self._error(f"unknown value type {kind} at byte {self._at - 4}")
        item, count = self._unpack("<I"), self._unpack("<Q")
        if item == _STRING:
            return self._strings(count)
        if item not in _DTYPES:
            raise self._error(f"an array of value type {item} at byte {self._at - 12}")
        dtype = np.dtype(_DTYPES[item])
        self._fits(count, dtype.itemsize, "array items")
        values = np.frombuffer(self._data, dtype=dtype, count=count, offset=self._at)
        self._at += count * dtype.itemsize
        return values.tolist()

    def _tensor_infos(self, count: int) -> dict[str, TensorInfo]:
        rows: list[tuple[str, tuple[int, ...], int, int]] = []
        for _ in range(count):
            name = self._string()
            n_dims = self._unpack("<I")
            if not 1 <= n_dims <= 4:
                raise self._error(f"tensor {name[:80]!r} has {n_dims} dimensions")
            shape = tuple(self._unpack("<Q") for _ in range(n_dims))[::-1]
            rows.append((name, shape, self._unpack("<I"), self._unpack("<Q")))
        align = self.metadata.get("general.alignment", 32)
        if not isinstance(align, int) or not 0 < align <= 1 << 20 or align & (align - 1):
            raise self._error(f"its alignment is {align!r}, not a power of two")
        start = -(-self._at // align) * align
        infos: dict[str, TensorInfo] = {}
        total = 0
        for name, shape, kind, offset in rows:
            if name in infos:
                raise self._error(f"tensor {name[:80]!r} is there twice")
            if kind not in _TYPES:
                raise GGUFError(
                    f"{self.path}: tensor {name[:80]!r} is stored as ggml type {kind}, which "
                    "cannot be read; "
                    f"use a file in one of {', '.join(t[0] for t in _TYPES.values())}"
                )
            type_name, block, block_bytes = _TYPES[kind]
            elements = prod(shape)
            if elements == 0 or shape[-1] % block:
                raise self._error(
                    f"tensor {name[:80]!r} has shape {shape}, impossible for {type_name}"
                )
            n_bytes = elements // block * block_bytes
            if start + offset + n_bytes > self._size:
                raise self._error(
                    f"tensor {name[:80]!r} ends at byte {start + offset + n_bytes}, the file at "
                    f"{self._size}"
                )
            total += n_bytes
            infos[name] = TensorInfo(name, shape, type_name, start + offset, n_bytes)
        if total > self._size:
            raise self._error(f"its tensors overlap ({total} bytes of them in {self._size})")
        return infos

    # -- tensors ----------------------------------------------------------------------------------

    def tensor(self, name: str) -> FloatArray:
        """A tensor as a new float32 array."""
        info = self.tensors[name]
        raw = np.frombuffer(self._data, dtype=np.uint8, count=info.n_bytes, offset=info.offset)
        return dequantize(raw, info.kind).reshape(info.shape)


def dequantize(raw: npt.NDArray[np.uint8], kind: str) -> FloatArray:
    """The float32 values of `raw` bytes in a ggml type, flat."""
    if kind == "F32":
        return raw.view("<f4").astype(np.float32)
    if kind == "F16":
        return raw.view("<f2").astype(np.float32)
    if kind == "BF16":
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    if kind in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"):
        return _dequantize_32(raw, kind)
    try:
        from gguf.constants import GGMLQuantizationType
        from gguf.quants import dequantize as gguf_dequantize
    except ImportError:
        raise GGUFError(
            f"weights in {kind} need the package gguf: pip install gguf (or use a Q8_0 or Q4_1 "
            "file)"
        ) from None
    rows = raw.reshape(-1, next(t[2] for t in _TYPES.values() if t[0] == kind))
    return np.ascontiguousarray(gguf_dequantize(rows, GGMLQuantizationType[kind]).reshape(-1))


def _dequantize_32(raw: npt.NDArray[np.uint8], kind: str) -> FloatArray:
    """Blocks of 32: a scale (f16), in the _1 types an offset (f16), the fifth bits, 4- or 8-bit
    values."""
    size = next(t[2] for t in _TYPES.values() if t[0] == kind)
    blocks = raw.reshape(-1, size)  # (n, size)
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)  # (n, 1)
    out = np.empty((blocks.shape[0], 32), dtype=np.float32)  # (n, 32)
    if kind == "Q8_0":
        np.multiply(blocks[:, 2:].view(np.int8), scale, out=out)
        return out.reshape(-1)
    offset = blocks[:, 2:4].copy().view("<f2").astype(np.float32) if kind.endswith("1") else None
    packed = blocks[:, -16:]  # (n, 16): low halves are values 0..15, high halves 16..31
    values = np.empty((blocks.shape[0], 32), dtype=np.uint8)
    np.bitwise_and(packed, 15, out=values[:, :16])
    np.right_shift(packed, 4, out=values[:, 16:])
    if kind.startswith("Q5"):
        fifth = np.unpackbits(blocks[:, -20:-16].copy(), axis=1, bitorder="little")  # (n, 32)
        values |= fifth << 4
    if offset is None:
        zero = 8 if kind == "Q4_0" else 16
        np.multiply(values.astype(np.int8) - np.int8(zero), scale, out=out)
    else:
        np.multiply(values, scale, out=out)
        out += offset
    return out.reshape(-1)
