"""The slow twin of `decoder`: the same pass over bytes in plain numpy, no cache, no threads.

Reads the same `Shape` and `Weights`; unpacks the panels and multiplies whole numbers in int64.
Equal to the kernel but for the rounding of sums of float32, which may tip a byte now and then.
"""

from __future__ import annotations

import math

import numpy as np

from .decoder import (
    ATTENTION_OUT,
    GELU_TANH,
    LAYERNORM,
    MLP_IN,
    MLP_OUT,
    QKV,
    SWIGLU,
    Shape,
    Weights,
)
from .int8 import GROUP, PANEL
from .reference_int8 import ZERO, linear


def unpacked(packed: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Codes (N', K') again from their panels."""
    panels = packed.reshape(rows // PANEL, columns // GROUP, PANEL, GROUP)
    return panels.transpose(0, 2, 1, 3).reshape(rows, columns)


def hidden(
    shape: Shape, weights: Weights, tokens: np.ndarray, states: np.ndarray | None = None
) -> np.ndarray:
    """Tokens (T,) of one text, and their lattice states, to the final norm's output, float32
    (T, width)."""
    places = np.arange(len(tokens))
    codes = weights.embedding[tokens].astype(np.float32) - ZERO  # (T, C)
    x = codes * weights.embedding_scales[tokens][:, None]
    if not shape.rope:
        x = x + weights.positions[places]
    if states is not None:
        x = x + weights.states[states]
    for layer in range(shape.layers):
        y = _norm(shape, weights, 2 * layer, x)
        y = _attention(shape, weights, _matrix(weights, layer, QKV, y), places)
        x = x + _matrix(weights, layer, ATTENTION_OUT, y)
        y = _norm(shape, weights, 2 * layer + 1, x)
        y = _activation(shape, _matrix(weights, layer, MLP_IN, y))
        x = x + _matrix(weights, layer, MLP_OUT, y)
    return _norm(shape, weights, 2 * shape.layers, x)


def logits(hidden: np.ndarray, head: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Hidden states (T, width) times codes (V', K') of the output layer: float32 (T, V')."""
    return linear(hidden, head, scales)


def _matrix(weights: Weights, layer: int, matrix: int, x: np.ndarray) -> np.ndarray:
    n, k = int(weights.rows_of[layer, matrix]), int(weights.columns_of[layer, matrix])
    at, scale_at = int(weights.code_at[layer, matrix]), int(weights.scale_at[layer, matrix])
    codes = unpacked(weights.codes[at : at + n * k], n, k)
    full = np.zeros((len(x), k), np.float32)
    full[:, : x.shape[1]] = x[:, :k]
    out = linear(full, codes, weights.scales[scale_at : scale_at + n])
    return out + weights.biases[scale_at : scale_at + n]


def _norm(shape: Shape, weights: Weights, which: int, x: np.ndarray) -> np.ndarray:
    true = x[:, : shape.true_width].astype(np.float64)
    gain, shift = weights.norms[which]
    if shape.norm == LAYERNORM:
        mean = true.mean(axis=1, keepdims=True)
        factor = 1 / np.sqrt(true.var(axis=1, keepdims=True) + shape.epsilon)
    else:
        mean = 0.0
        factor = 1 / np.sqrt((true**2).mean(axis=1, keepdims=True) + shape.epsilon)
    return ((x - mean) * factor * gain + shift).astype(np.float32)


def _turned(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    a, b = np.split(x, 2, axis=-1)  # (T, d / 2) each
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def _attention(shape: Shape, weights: Weights, qkv: np.ndarray, places: np.ndarray) -> np.ndarray:
    d, heads, kv_heads = shape.head, shape.heads, shape.kv_heads
    out = np.zeros((len(qkv), heads * d), np.float32)
    later = places[None] > places[:, None]
    for head in range(heads):
        group = head // (heads // kv_heads)
        q, k, v = (
            qkv[:, at * d : (at + 1) * d] for at in (head, heads + group, heads + kv_heads + group)
        )
        if shape.rope:
            cos, sin = weights.cos[places], weights.sin[places]
            q, k = _turned(q, cos, sin), _turned(k, cos, sin)
        k, v = (part.astype(np.float16).astype(np.float32) for part in (k, v))  # as in the cache
        scores = (q.astype(np.float64) @ k.T) / math.sqrt(d)
        scores[later] = -np.inf
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        out[:, head * d : (head + 1) * d] = (e / e.sum(axis=1, keepdims=True)) @ v
    return out


def _activation(shape: Shape, x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    if shape.mlp == SWIGLU:
        halves = x.reshape(len(x), -1, 2, PANEL // 2)
        gate, up = (halves[:, :, i].reshape(len(x), -1) for i in (0, 1))
        return (gate / (1 + np.exp(-gate)) * up).astype(np.float32)
    if shape.mlp == GELU_TANH:
        u = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return (0.5 * x * (1 + np.tanh(u))).astype(np.float32)
    erf = np.vectorize(math.erf)
    return (0.5 * x * (1 + erf(x / math.sqrt(2)))).astype(np.float32)
