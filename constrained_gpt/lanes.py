"""A decode step whose shapes and addresses never change, so that a GPU replays it as one graph.

A step of a small model is hundreds of small kernels, and launching each from Python takes longer
than running it: a CUDA graph launches them together. What a graph reads and writes must stay where
it is, so here a batch's rows lie in lanes, of which there are a fixed number, each with room for a
fixed number of positions; a lane without a row computes what nobody reads. As the shapes are always
the same, so is the order in which each product is summed, and a row's numbers depend on that row
alone. Knows a model and lane numbers; knows no row and no vocabulary beside the model's. Made and
read by `gpu_engine`; without a GPU the same step runs launch by launch.
"""

from __future__ import annotations

import math
import queue
import threading
import warnings
import weakref
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .kv_cache import Ints, TailCache
from .model import GPT, RMSNorm

TILE = 64  # rows of every product of a step
FEW = 8  # lanes of a small batch: attention reads the cache of every lane there is
HEAD = 8  # a head is filled up to a multiple of so many numbers, or fused attention refuses it
POSITIONS = 32  # a lane has room for a multiple of so many
KEPT = 4  # sets of lanes that wait to be used again
LOCK = threading.RLock()  # one capture at a time in a process, and no other thread's step meanwhile


def fixed(layer: nn.Module) -> nn.Module:
    """A layer of a model in its form for steps of fixed shape."""
    if isinstance(layer, nn.Linear):
        return TiledLinear(layer)
    if isinstance(layer, RMSNorm):
        return FusedRMSNorm(layer)
    return layer


class TiledLinear(nn.Module):
    """`F.linear`, `TILE` rows at a time."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim > 2 or len(x) <= TILE:  # a prompt, which is read alone
            return F.linear(x, self.weight, self.bias)
        return torch.cat([F.linear(part, self.weight, self.bias) for part in x.split(TILE)])


class FusedRMSNorm(nn.Module):
    """`model.RMSNorm` as one kernel."""

    def __init__(self, norm: RMSNorm) -> None:
        super().__init__()
        self.weight, self.eps = norm.weight, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Landing:
    """Pinned memory that a GPU writes to without a copy between; made once, for to make it takes
    longer than a step. What lies in it is good until the next arrival."""

    def __init__(self) -> None:
        self._room = torch.empty(0, dtype=torch.uint8)

    def brought(self, *parts: Tensor) -> list[npt.NDArray[Any]]:
        """Tensors as arrays, after one wait for all of them."""
        sizes = [-(-part.nbytes // 64) * 64 for part in parts]
        if self._room.numel() < sum(sizes):
            self._room = torch.empty(2 * sum(sizes), dtype=torch.uint8, pin_memory=parts[0].is_cuda)
        here = []
        for part, room in zip(parts, self._room[: sum(sizes)].split(sizes), strict=True):
            into = room[: part.nbytes].view(part.dtype).view(part.shape)
            here.append(into.copy_(part, non_blocking=True))
        if parts[0].is_cuda:
            torch.cuda.current_stream(parts[0].device).synchronize()
        return [into.numpy() for into in here]


class Lanes:
    """Room for `size` rows of a model's keys and values, and the step that gives each a token.

    k, v: (layers, lanes, kv heads, positions, d), d filled up to a multiple of `HEAD`. hidden:
    (rows, C), after a step the last layer's output of every lane, then of rows that fill up the
    last tile. landing: where arrays that the rows are about come to.
    """

    def __init__(self, model: GPT, size: int, positions: int) -> None:
        config = model.config
        like = model.lm_head.weight
        self._model, self.size, self.room = model, size, positions
        self.rows = -(-size // TILE) * TILE
        self._width = config.width
        wide = -(-config.width // HEAD) * HEAD
        shape = (config.n_layer, size, config.kv_heads, positions, wide)
        self.k, self.v = like.new_zeros(shape), like.new_zeros(shape)
        on_gpu = like.device.type == "cuda"
        # What a step is given, a row each: token, position, lattice state.
        self._host = torch.zeros((3, self.rows), dtype=torch.int64, pin_memory=on_gpu)
        self._given = torch.zeros((3, self.rows), dtype=torch.int64, device=like.device)
        # Lanes that attend in one call: on a GPU all, each in a block of its own; on a processor a
        # lane's place among others decides how its numbers are summed.
        self._together = size if on_gpu else 1
        self._lane = torch.arange(size, device=like.device)
        self._place = torch.arange(positions, device=like.device)
        self._unread = like.new_zeros((size, 1, 1, positions))
        self.landing = Landing()
        self.hidden = like.new_zeros((self.rows, config.n_embd))
        self._graph = self._captured() if on_gpu else None  # None: launch by launch

    # -- what a graph holds -----------------------------------------------------------------
    @property
    def positions(self) -> Tensor:
        """As `model.Cache` has it, of all rows: int64 (rows,)."""
        return self._given[1]

    @property
    def end(self) -> int:
        """The room there is: whoever makes the lanes sees that the model has so many positions."""
        return self.room

    def append(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Write one position of one layer for every lane; `k`, `v`: (rows, KV, d)."""
        at = self.positions[: self.size]
        d = self._width
        self.k[layer, self._lane, :, at, :d] = k[: self.size]
        self.v[layer, self._lane, :, at, :d] = v[: self.size]

    def attend(self, layer: int, q: Tensor) -> Tensor:
        """One query a row, (rows, H, d), over what its lane has read: (rows, H, d). Grouped queries
        stand as positions of one head, so that no key is copied for them."""
        _, heads, d = q.shape
        k, v = self.k[layer], self.v[layer]  # (lanes, KV, S, d)
        kv = k.shape[1]
        grouped = q[: self.size].reshape(self.size, kv, heads // kv, d)
        if d < k.shape[-1]:
            grouped = F.pad(grouped, (0, k.shape[-1] - d))
        mask = self._unread.expand(-1, kv, heads // kv, -1)  # (lanes, KV, G, S)
        sides = (t.split(self._together) for t in (grouped, k, v, mask))
        parts = [
            F.scaled_dot_product_attention(q, k, v, some, scale=1 / math.sqrt(d))
            for q, k, v, some in zip(*sides, strict=True)
        ]
        y = parts[0] if len(parts) == 1 else torch.cat(parts)  # (lanes, KV, G, d)
        y = y[..., :d].reshape(self.size, heads, d)
        missing = self.rows - self.size
        return F.pad(y, (0, 0, 0, 0, 0, missing)) if missing else y

    def advance(self) -> None:
        """Nothing: the positions are given anew at every step."""

    def _forward(self) -> None:
        at = self.positions[: self.size]
        self._unread.copy_(
            torch.zeros_like(self._unread).masked_fill_(
                (self._place > at[:, None])[:, None, None], -math.inf
            )
        )
        states = self._given[2] if self._model.config.n_states else None
        self.hidden.copy_(self._model.step(self._given[0], self, states))

    def _captured(self) -> torch.cuda.CUDAGraph | None:
        """The step as a graph; None, with a warning, where this GPU or torch makes none of it."""
        before = torch.cuda.current_stream(self.hidden.device)
        try:
            return self._capture()
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = (str(error).splitlines() or [""])[0]
            warnings.warn(
                f"a step of decoding could not be made a CUDA graph ({reason}); it runs launch by "
                "launch, some times slower",
                RuntimeWarning,
                stacklevel=2,
            )
            return None
        finally:
            torch.cuda.set_stream(before)

    def _capture(self) -> torch.cuda.CUDAGraph:
        """Run before it is captured, for libraries make their room when first called."""
        device = self.hidden.device
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(2):
                self._forward()
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            self._forward()
        return graph

    # -- a step -----------------------------------------------------------------------------
    def begin(self, k: Tensor, v: Tensor) -> None:
        """Every lane has read a prompt: its keys and values, (layers, KV, P, d) each. Lanes without
        a row write after it, where nobody looks."""
        length, d = k.shape[2:]
        self._host[1] = length
        for whole, prompt in ((self.k, k), (self.v, v)):
            whole[:, :, :, :length, :d] = prompt[:, None]
            whole[:, :, :, length:] = 0  # no mask hides what is not a number

    def step(self, lanes: Ints, tokens: Ints, positions: Ints, states: Ints | None) -> Tensor:
        """Some lanes read a token each, at a position and in a lattice state (None: no state), all
        int64 (B,). Returns `hidden`, which the next step writes over."""
        given = self._host.numpy()
        given[0, lanes], given[1, lanes] = tokens, positions
        given[2, lanes] = 0 if states is None else states
        self._given.copy_(self._host, non_blocking=True)
        if self._graph is None:
            self._forward()
        else:
            self._graph.replay()
        return self.hidden

    def nbytes(self) -> int:
        """Bytes of keys and values."""
        return 2 * self.k.numel() * self.k.element_size()


class LanePool:
    """Lanes of one model: made when asked for, and kept when their cache is gone, for a graph takes
    longer to capture than a poem to write. Threads may share it."""

    def __init__(self, model: GPT) -> None:
        self._model, self._idle = model, list[Lanes]()
        # Caches may be collected in any thread at any moment, also while `take` is at work.
        self._returned: queue.SimpleQueue[Lanes] = queue.SimpleQueue()

    @torch.inference_mode()
    def take(self, size: int, positions: int) -> Lanes:
        """At least `size` lanes that nobody else has, each with room for `positions`."""
        size = FEW if size <= FEW else -(-size // TILE) * TILE
        known = self._model.config.block_size
        positions = min(-(-positions // POSITIONS) * POSITIONS, known)
        with LOCK:
            while not self._returned.empty():
                self._idle.append(self._returned.get())
            del self._idle[:-KEPT]
            for place in reversed(range(len(self._idle))):
                if (self._idle[place].size, self._idle[place].room) == (size, positions):
                    return self._idle.pop(place)
            return Lanes(self._model, size, positions)

    def give_back(self, lanes: Lanes) -> None:
        """They may be taken by another."""
        self._returned.put(lanes)


class LaneCache(TailCache):
    """The cache of one call: rows in lanes of a pool, to which they return when it is dropped. The
    tails are views of the lanes' keys and values after the prompt."""

    def __init__(self, pool: LanePool, k: Tensor, v: Tensor, batch: int, max_new: int) -> None:
        """`k`, `v`: of the prompt, (layers, kv heads, P, head dim)."""
        self.pool, self._prompt = pool, (k, v)
        super().__init__(k.shape[2], batch, max_new)
        self._hold(self._taken(batch))

    def _taken(self, size: int) -> Lanes:
        lanes = self.pool.take(size, self.prefix_length + self.max_new)
        lanes.begin(*self._prompt)
        return lanes

    def _hold(self, lanes: Lanes) -> None:
        self.lanes = lanes
        self._release = weakref.finalize(self, self.pool.give_back, lanes)
        self._release.atexit = False
        self.tail_k = lanes.k[:, :, :, self.prefix_length :]
        self.tail_v = lanes.v[:, :, :, self.prefix_length :]

    def _free(self, wanted: int, held: Ints) -> Ints:
        """As there, and nothing of a row before is left, for no mask hides what is not a number."""
        free = super()._free(wanted, held)
        at = torch.from_numpy(free).to(self.tail_k.device)
        self.tail_k[:, at] = 0
        self.tail_v[:, at] = 0
        return free

    def _grow(self, more: int) -> None:
        with LOCK:
            old, release = self.lanes, self._release
            lanes = self._taken(old.size + more)
            lanes.k[:, : old.size] = old.k
            lanes.v[:, : old.size] = old.v
            self._hold(lanes)
        release()

    def step(self, tokens: Ints, states: Ints | None) -> Tensor:
        """Every row reads a token, see `Lanes.step`; its hidden state stands at its slot."""
        positions = self.prefix_length + self.lengths
        hidden = self.lanes.step(self.slots, tokens, positions, states)
        self.advance()
        return hidden

    def nbytes(self) -> int:
        """Bytes held: those of the lanes and of the prompt."""
        k = self._prompt[0]
        return self.lanes.nbytes() + 2 * k.numel() * k.element_size()
