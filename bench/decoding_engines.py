"""Engines side by side on one model: ours, transformers, torch, CTranslate2, llama.cpp.

Each writes rows of tokens after one prompt, drawn from the whole distribution at a temperature (0:
the likeliest), and some write poems of the lattice. `installed` makes those that can be, with the
reason for every other. Knows no clock. Called by decoding_peers.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import model_twins
import numpy as np
import torch
import torch_decoding

from constrained_gpt.adapters.transformers import LatticeLogitsProcessor
from constrained_gpt.checkpoint_common import Checkpoint
from constrained_gpt.decoding.options import Options
from constrained_gpt.decoding.sampling import sample
from constrained_gpt.engine import Engine
from constrained_gpt.gpu_engine import GpuEngine
from constrained_gpt.int8_engine import Int8Engine
from constrained_gpt.kernels._team import processors, shared_team
from constrained_gpt.kernels.mask import Masks
from constrained_gpt.kernels.sampling import sample_masked
from constrained_gpt.lattice import Lattice
from constrained_gpt.torch_engine import TorchEngine

Array = np.ndarray
HALF = "bfloat16"


class Absent(Exception):
    """A peer that cannot be made here; the text says why, and the cure."""


@dataclass(frozen=True)
class Task:
    """What all engines are given. folder: for files that go when the bench ends. device: "cpu" or
    "cuda"."""

    checkpoint: Checkpoint
    prompt: tuple[int, ...]
    lattice: Lattice
    folder: Path
    threads: int
    device: str = "cpu"


class DecodingEngine(Protocol):
    """name: for tables. exact: float32 throughout, so that its likeliest tokens are anyone's."""

    name: str
    version: str
    exact: bool

    def write(self, rows: int, new: int, seed: int, temperature: float) -> Array:
        """Tokens without any constraint: int64 (rows, new)."""
        ...


class PoetEngine(DecodingEngine, Protocol):
    """One that also writes poems."""

    def poems(self, rows: int, seed: int, temperature: float) -> list[list[int]]:
        """Tokens of whole poems, the end token included; drawn under the mask and nothing else."""
        ...


class Ours:
    """This project: `generate`'s loop for poems; the same loop with every token allowed."""

    version = version("constrained-gpt")
    refills = 4

    def __init__(self, task: Task, dtype: str) -> None:
        self.name, self.exact, self._task = f"constrained-gpt {dtype}", dtype == "float32", task
        if dtype == "int8":
            self._engine: Engine = Int8Engine.from_checkpoint(task.checkpoint)
            return
        make = TorchEngine if task.device == "cpu" else GpuEngine
        self._engine = make.from_checkpoint(
            task.checkpoint, device=task.device, dtype=getattr(torch, dtype)
        )

    def write(self, rows: int, new: int, seed: int, temperature: float) -> Array:
        """Free: the whole output layer, and our own draw over all of the vocabulary."""
        engine, team = self._engine, shared_team()
        cache, first = engine.prefill(self._task.prompt, rows, new)
        logits = np.repeat(first[None], rows, axis=0)  # (B, V)
        order = np.arange(engine.n_vocab, dtype=np.int32)
        masks, nothing = _all_allowed(rows, order), np.zeros(0, np.float32)
        scratch = np.empty((team.threads, 2, len(order) + 16), np.float32)
        unknown, history = np.full(rows, np.nan), np.zeros((rows, 0), np.int64)
        tokens = np.zeros(rows, np.int64)
        sums = [np.zeros(rows) for _ in range(4)]
        generators = [np.random.default_rng([seed, row]) for row in range(rows)]
        written = np.empty((rows, new), np.int64)
        for step in range(new):
            uniforms = np.array([generator.random() for generator in generators])
            team.run(
                sample_masked, np.ascontiguousarray(logits), np.arange(rows), nothing, False, order,
                order, masks, unknown, history, uniforms, temperature, 0, 1.0, 0.0, 1.0, False,
                np.zeros((1, 1), np.float32), np.full(rows, -1), scratch, tokens, *sums,
            )  # fmt: skip
            written[:, step] = tokens
            if step + 1 < new:
                logits = engine.decode_step(cache, tokens)
        return written

    def poems(self, rows: int, seed: int, temperature: float) -> list[list[int]]:
        """What generate(..., strategy="sample") runs for `refills` times `rows` poems, `rows` of
        them at once and the next as soon as one ends; with neither look-ahead nor min-p, which
        other engines have not got."""
        options = Options(temperature=temperature, min_p=None, lookahead=False)
        many = self.refills * rows
        generators = [np.random.default_rng([seed, row, 0]) for row in range(many)]
        task = self._task
        paths = sample(
            self._engine, task.lattice, task.prompt, generators, options, weights=False, rows=rows
        )
        return [path.tokens for path in paths]


def _all_allowed(rows: int, order: Array) -> Masks:
    """Masks that forbid nothing: every row has one entry, of all tokens."""
    size = len(order)
    starts = np.zeros(rows + 1, np.int64)
    none = np.zeros(0, np.int32)
    return Masks(
        entry=np.zeros(rows, np.int32), start=np.zeros(rows, np.int64),
        stop=np.full(rows, size, np.int64), position=order, outlook=np.zeros(size, np.float32),
        prefix=np.full(rows, size, np.int32), drop_start=starts, drop=none, extra_start=starts,
        extra_token=none, extra_outlook=np.zeros(0, np.float32),
    )  # fmt: skip


class Transformers:
    """transformers' generate(); poems with our lattice as its logits processor."""

    def __init__(self, task: Task, model: Any, dtype: str) -> None:
        self.name, self.version = f"transformers {dtype}", version("transformers")
        self.exact, self._task = dtype == "float32", task
        self._model = model.to(task.device, getattr(torch, dtype))

    @torch.inference_mode()
    def write(self, rows: int, new: int, seed: int, temperature: float) -> Array:
        return self._generate(rows, seed, temperature, max_new_tokens=new).numpy()

    @torch.inference_mode()
    def poems(self, rows: int, seed: int, temperature: float) -> list[list[int]]:
        lattice = self._task.lattice
        written = self._generate(
            rows, seed, temperature, max_new_tokens=lattice.max_tokens, eos_token_id=lattice.end,
            logits_processor=[LatticeLogitsProcessor(lattice, len(self._task.prompt))],
        )  # fmt: skip
        return [row[: row.index(lattice.end) + 1] for row in written.tolist()]

    def _generate(self, rows: int, seed: int, temperature: float, **more: Any) -> torch.Tensor:
        prompt = torch.tensor([self._task.prompt] * rows, device=self._task.device)
        draw = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        torch.manual_seed(seed)  # transformers takes no generator
        out = self._model.generate(
            prompt, attention_mask=torch.ones_like(prompt), pad_token_id=self._task.lattice.end,
            **(draw if temperature > 0 else {"do_sample": False}), **more,
        )  # fmt: skip
        return out[:, prompt.shape[1] :].cpu()


class TorchLoop:
    """A loop written by hand, see torch_decoding."""

    version = version("torch")

    def __init__(
        self, task: Task, name: str, loop: Callable[..., torch.Tensor], dtype: str
    ) -> None:
        self.name, self.exact = name, dtype == "float32"
        self._task, self._loop = task, loop
        self._model = torch_decoding.loaded(
            task.checkpoint, int8=dtype == "int8", device=task.device,
            dtype=torch.float32 if dtype == "int8" else getattr(torch, dtype),
        )  # fmt: skip

    def write(self, rows: int, new: int, seed: int, temperature: float) -> Array:
        written = self._loop(self._model, self._task.prompt, rows, new, seed, temperature)
        return written.cpu().numpy()


class CTranslate2:
    """Its generate_batch; the prompt is read once a call, as ours is."""

    def __init__(self, task: Task, model: Any, dtype: str) -> None:
        try:
            import ctranslate2
        except ModuleNotFoundError:
            raise Absent("pip install ctranslate2") from None
        self.name, self.version = f"CTranslate2 {dtype}", version("ctranslate2")
        self.exact, self._seed = dtype == "float32", ctranslate2.set_random_seed
        folder = model_twins.ctranslate2_folder(model, task.checkpoint, dtype, task.folder)
        self._generator = ctranslate2.Generator(
            str(folder), device="cpu", compute_type=dtype, intra_threads=task.threads
        )
        self._prompt = [str(token) for token in task.prompt]

    def write(self, rows: int, new: int, seed: int, temperature: float) -> Array:
        draw = {"sampling_topk": 0, "sampling_temperature": temperature}
        self._seed(seed)
        found = self._generator.generate_batch(
            [self._prompt[-1:]] * rows, static_prompt=self._prompt[:-1], cache_static_prompt=False,
            include_prompt_in_result=False, max_length=new, end_token=[],
            **(draw if temperature > 0 else {"sampling_topk": 1}),
        )  # fmt: skip
        return np.array([one.sequences_ids[0] for one in found], np.int64)


class LlamaCpp:
    """llama.cpp; weights in blocks of 32 bytes with a scale."""

    exact = False

    def __init__(self, task: Task) -> None:
        try:
            import llama_cpp_decoding as peer
        except ModuleNotFoundError:
            raise Absent("pip install llama-cpp-python, which builds for some minutes") from None
        self.name, self.version = "llama.cpp Q8_0", version("llama-cpp-python")
        path = model_twins.write_gguf(task.checkpoint, "Q8_0", task.folder / "Q8_0.gguf")
        self._prompt = task.prompt
        self._process = peer.LlamaProcess(path, task.threads, extra=True)
        try:
            self.write(1, 2, 0, 1.0)
        except peer.Died:  # its code for AMX does, if gcc 12 compiled it
            self.version += ", weights not repacked: that crashes here"
            self._process = peer.LlamaProcess(path, task.threads, extra=False)

    def write(self, rows: int, new: int, seed: int, temperature: float) -> Array:
        return self._process.write(self._prompt, rows, new, seed, temperature)


def installed(task: Task, only: Sequence[str] = ()) -> tuple[list[DecodingEngine], dict[str, str]]:
    """The engines there are, ours first, and the absent ones with why. only: beginnings of the
    names wanted, all if empty."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(task.threads)
    twins: dict[str, Any] = {}  # transformers' models by dtype, once they are asked for

    def twin(dtype: str = "float32") -> Any:
        if dtype not in twins:
            try:
                twins[dtype] = model_twins.transformers_twin(task.checkpoint)
            except ModuleNotFoundError:
                raise Absent("pip install transformers") from None
        return twins[dtype]

    def loop(name: str, how: Callable[..., torch.Tensor], dtype: str) -> TorchLoop:
        return TorchLoop(task, name, how, dtype)

    def on_processor(make: Callable[[], DecodingEngine]) -> DecodingEngine:
        if task.device != "cpu":
            raise Absent("it is measured on a processor")
        return make()

    cached, uncached = torch_decoding.with_cache, torch_decoding.without_cache
    few = HALF if task.device == "cuda" else "int8"  # what engines have in place of float32
    makers: dict[str, Callable[[], DecodingEngine]] = {
        f"constrained-gpt {few}": lambda: Ours(task, few),
        "constrained-gpt float32": lambda: Ours(task, "float32"),
        "transformers float32": lambda: Transformers(task, twin(), "float32"),
        "torch, no cache": lambda: loop("torch, no cache", uncached, "float32"),
        "torch loop float32": lambda: loop("torch loop float32", cached, "float32"),
        f"torch loop {few}": lambda: loop(f"torch loop {few}", cached, few),
        "CTranslate2 float32": lambda: on_processor(lambda: CTranslate2(task, twin(), "float32")),
        "CTranslate2 int8": lambda: on_processor(lambda: CTranslate2(task, twin(), "int8")),
        "llama.cpp Q8_0": lambda: on_processor(lambda: LlamaCpp(task)),
    }
    if few == HALF:
        makers[f"transformers {HALF}"] = lambda: Transformers(task, twin(HALF), HALF)
    found: list[DecodingEngine] = []
    absent: dict[str, str] = {}
    for name, make in makers.items():
        if only and not any(name.startswith(start) for start in only):
            continue
        try:
            found.append(make())
        except Absent as reason:
            absent[name] = str(reason)
    return found, absent


__all__ = ["Absent", "DecodingEngine", "PoetEngine", "Task", "installed", "processors"]
