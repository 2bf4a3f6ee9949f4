"""The trainer: nanoGPT's recipe (AdamW, warm-up then cosine, clipped gradients) on prepared poems.

Knows the model, its checkpoints and batches of poems. Called by `haiku finetune`, alone or by
`torchrun`. Writes ckpt.pt in nanoGPT's format (the newest, to go on from), best.pt (the lowest
held-out loss) and step_metrics.csv. The same configuration gives the same weights, interrupted or
not: what a step sees follows from seed and step. (One process on a processor, that is; with dropout
on a GPU or in several processes a run that goes on drops other units.)
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import prompts
from ..checkpoint import Checkpoint, load
from ..checkpoint_nanogpt import read_file
from ..model import GPT
from ..model_config import GPTConfig
from . import lora
from .batches import Poems, Teachers, form_of, mapped
from .config import SCRATCH, TrainConfig, absolute, lr_at, said
from .evaluate import evaluate, losses
from .lattices import Lattices, bare
from .prepare import read_card, tokenizer_of
from .run_files import BEST, CKPT, COLUMNS, METRICS, append_metrics, begin_metrics, board_of, save
from .runtime import Crew, Stop, autocast_of, crew_of, device_of
from .validity import free_samples, valid_share

_RESUMED = frozenset(
    ("config", "model", "iter_num", "best_val_loss", "optimizer", "rng", "stale", "tokens")
)  # what ckpt.pt holds to go on with
_PROMPTS = 8  # that the validity rate is measured under


def build(model: str | Path) -> tuple[GPT, Checkpoint]:
    """A model with its weights, and the checkpoint they came from."""
    checkpoint = load(str(model))
    return _filled(checkpoint), checkpoint


def _filled(checkpoint: Checkpoint) -> GPT:
    gpt = GPT(checkpoint.config)
    state = dict(checkpoint.state_dict)
    if checkpoint.config.tied:
        state["lm_head.weight"] = state["transformer.wte.weight"]
    if gpt.config.n_states:  # learned from zero where the checkpoint has none
        state.setdefault("transformer.wse.weight", gpt.state_dict()["transformer.wse.weight"])
    gpt.load_state_dict(state)
    return gpt


def begun(config: TrainConfig) -> tuple[GPT, Checkpoint]:
    """The model that a run starts from: loaded, or drawn by the seed; budget-aware if asked."""
    card = read_card(config.data)
    sizes = {"state_lines": card["states"]["lines"], "state_left": card["states"]["left"]}
    if config.init == SCRATCH:
        tokenizer = tokenizer_of(config.tokenizer or str(card["tokenizer"]))
        shape = GPTConfig(
            block_size=config.block_size, vocab_size=-(-tokenizer.n_vocab // 64) * 64,
            n_layer=config.n_layer, n_head=config.n_head, n_embd=config.n_embd,
            dropout=config.dropout, bias=config.bias, **(sizes if config.budget else {}),
        )  # fmt: skip
        with _seeded(config.seed):
            model = GPT(shape)
        return model, Checkpoint(shape, {}, tokenizer, SCRATCH)
    checkpoint = load(config.init)
    shape = replace(checkpoint.config, dropout=config.dropout)
    if config.budget and not shape.n_states:
        shape = replace(shape, **sizes)
    checkpoint = replace(checkpoint, config=shape)
    return _filled(checkpoint), checkpoint


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """torch's own numbers begin at the seed; afterwards they are as they were."""
    with torch.random.fork_rng():
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        yield


def optimizer_of(model: torch.nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves biases, norms and the state table alone."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    state = [p for n, p in named if "wse" in n]
    body = [p for n, p in named if "wse" not in n]
    groups = [
        {"params": [p for p in body if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in body if p.dim() < 2], "weight_decay": 0.0},
        {"params": state, "weight_decay": 0.0},
    ]
    for group, scale in zip(groups, (1.0, 1.0, config.state_scale), strict=True):
        group["scale"] = scale  # type: ignore[assignment]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2))


def train(
    config: TrainConfig,
    *,
    log: Callable[[str], None] = print,
    progress: Callable[[int, int], object] | None = None,
    watch: Callable[[int, float], object] | None = None,
) -> dict[str, Any]:
    """Train as the configuration says; returns the losses. Ctrl-C keeps all that was learned.

    progress: called with (steps done, steps in all). watch: called with (steps done, held-out loss)
    once these are saved; what it raises ends the run.
    """
    device = device_of(config.device)
    crew = crew_of(device)
    if device.type == "cuda" and crew.size > 1:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if config.gradient_accumulation_steps % crew.size:
        raise ValueError(
            f"gradient_accumulation_steps={config.gradient_accumulation_steps} is not a multiple "
            f"of the {crew.size} processes that share it; raise it"
        )
    try:
        with _seeded(config.seed + crew.rank):
            return _Run(config, device, crew, log, progress, watch).train()
    finally:
        crew.part()


class _Run:
    """One run under way."""

    def __init__(
        self,
        config: TrainConfig,
        device: torch.device,
        crew: Crew,
        log: Callable[[str], None],
        progress: Callable[[int, int], object] | None,
        watch: Callable[[int, float], object] | None,
    ) -> None:
        self.watch = watch
        self.board = board_of(config) if crew.leads else None
        self.out = Path(config.out)
        if crew.leads:
            self.out.mkdir(parents=True, exist_ok=True)
        self.device, self.crew = device, crew
        self.log = log if crew.leads else lambda line: None
        self.progress = progress if crew.leads else None
        kept = self._kept(config) if config.resume else None
        if kept is not None:  # what the model is, is settled
            begun_as = kept["config"]
            config = replace(
                config, init=begun_as["init"], budget=begun_as["budget"], lora=begun_as["lora"],
                lora_alpha=begun_as["lora_alpha"],
            )  # fmt: skip
        self.config = config
        if kept is not None and not config.lora:
            self.model, self.checkpoint = build(self.out / CKPT)
        else:
            self.model, self.checkpoint = begun(config)
        if config.lora:
            lora.adapt(self.model, config.lora, config.alpha, config.seed)
            if kept is not None:
                self.model.load_state_dict(kept["lora"], strict=False)
        self.tokenizer = self.checkpoint.tokenizer
        self._lattices = Lattices(self.tokenizer)
        self.poems, self.held = self._splits()
        longest = max(self.poems.longest, self.held.longest)
        if longest >= self.checkpoint.config.block_size:
            raise ValueError(
                f"the longest poem has {longest} tokens and the model holds "
                f"{self.checkpoint.config.block_size}; raise block_size or leave it out"
            )
        self.model.to(device).train()
        self.optimizer = optimizer_of(self.model, config)
        self.start, self.best, self.stale, self.tokens = 0, math.inf, 0, 0
        if kept is not None:
            asked = [_given(group) for group in self.optimizer.param_groups]
            self.optimizer.load_state_dict(kept["optimizer"])
            for group, own in zip(self.optimizer.param_groups, asked, strict=True):
                group.update(own)  # rates and decay are this configuration's, not the file's
            torch.set_rng_state(kept["rng"])
            self.start, self.best = kept["iter_num"], kept["best_val_loss"]
            self.stale, self.tokens = kept["stale"], kept["tokens"]
        self.learner: torch.nn.Module = _Learner(self.model, config.distil, config.form_loss)
        if config.compile:
            self.learner = torch.compile(self.learner, dynamic=True)  # type: ignore[assignment]
        if crew.size > 1:
            ids = [device.index] if device.type == "cuda" else None
            self.learner = torch.nn.parallel.DistributedDataParallel(self.learner, device_ids=ids)

    def _kept(self, config: TrainConfig) -> dict[str, Any]:
        path = self.out / CKPT
        if not path.is_file():
            raise ValueError(f"{self.out} has no {CKPT} to go on from; leave out --resume to begin")
        state = read_file(path)
        if not state.keys() >= _RESUMED:
            raise ValueError(
                f"{path} holds no optimizer to go on with; start from it with --init {path}"
            )
        return state

    def _splits(self) -> tuple[Poems, Poems]:
        config = self.config
        thoughts = Teachers(self.tokenizer) if config.distil else None
        lattices = self._lattices if config.form_loss else None
        every = Poems(config.data, "train", self.tokenizer, thoughts=thoughts, lattices=lattices)
        held = Poems(config.data, "val", self.tokenizer)
        if config.fold is None:
            return every, held
        path = Path(config.data) / "train_folds.npy"
        if not path.is_file():
            raise ValueError(f"{config.data} has no folds; run `haiku prepare` with --folds 5")
        folds = mapped(path)
        apart = folds == config.fold
        if not apart.any() or apart.all():
            raise ValueError(f"fold={config.fold} holds no poem, or all; choose another")
        rows = np.arange(len(folds))
        return (
            Poems(
                config.data,
                "train",
                self.tokenizer,
                rows=rows[~apart],
                thoughts=thoughts,
                lattices=lattices,
            ),
            Poems(config.data, "train", self.tokenizer, rows=rows[apart]),
        )

    def train(self) -> dict[str, Any]:
        """All steps that are left."""
        config = self.config
        metrics = self.out / METRICS
        if self.crew.leads:
            begin_metrics(metrics, self.start)
        loss, val_loss, validity = math.nan, math.nan, math.nan
        done = self.start
        if self.start < config.max_iters:
            val_loss, validity = self._held_out()
            self.log(f"step {self.start}: {_told(val_loss, validity)}")
        with Stop() as stop:
            for step in range(self.start, config.max_iters):
                began = time.perf_counter()
                lr = lr_at(step, config)
                loss, norm, seen = self._step(step, lr)
                self.tokens += seen
                rate = seen / (time.perf_counter() - began)
                done = step + 1
                due = done % config.eval_interval == 0 or done == config.max_iters
                if due:
                    val_loss, validity = self._held_out()
                    if not math.isnan(val_loss):  # else nothing is held out
                        self.stale = 0 if val_loss < self.best else self.stale + 1
                if self.crew.leads:
                    shown = (val_loss, math.exp(min(val_loss, 700.0)), validity)
                    held = [("" if math.isnan(v) else v) if due else "" for v in shown]
                    row = (done, self.tokens, lr, loss, *held, norm, round(rate, 1))
                    append_metrics(metrics, row)
                    self._show(done, row)
                if self.progress is not None:
                    self.progress(done, config.max_iters)
                tired = bool(config.patience) and due and self.stale >= config.patience
                asked = self.crew.heard(stop.asked, self.device)
                if due or asked:
                    self._save(done, val_loss if due else math.inf)
                if due:
                    self.log(
                        f"step {done}: loss {loss:.4f}, {_told(val_loss, validity)}, lr {lr:.2e}, "
                        f"{rate:.0f} tokens/s"
                    )
                if due and self.watch is not None:
                    self.watch(done, val_loss)
                if asked:
                    self.log(f"stopped after step {done}; go on with --resume")
                    if asked == signal.SIGINT:
                        raise KeyboardInterrupt
                    # Not a run that came to its end: neither its caller nor a shell may go on.
                    raise SystemExit(128 + asked)
                if tired:
                    self.log(f"no better for {self.stale} evaluations; stopped after step {done}")
                    break
        return {
            "step": done,
            "loss": loss,
            "val_loss": val_loss,
            "best": self.best,
            "validity": validity,
        }

    def _show(self, done: int, row: tuple[object, ...]) -> None:
        """The row of the metrics on TensorBoard, where that is asked."""
        if self.board is not None:
            for name, value in zip(COLUMNS[1:], row[1:], strict=True):
                if value != "":
                    self.board.add_scalar(name, value, done)
            self.board.flush()

    def _step(self, step: int, lr: float) -> tuple[float, float, int]:
        """One step; its loss, the gradient's norm and the tokens it learned from."""
        config, crew = self.config, self.crew
        micro = config.gradient_accumulation_steps
        mine = range(crew.rank, micro, crew.size)
        total = self.poems.counted(config.seed, step, config.batch_size * micro)
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        for number in mine:
            batch = self.poems.step(config.seed, step, config.batch_size, number, micro)
            last = number == mine[-1]
            wait = contextlib.nullcontext()
            if crew.size > 1 and not last:
                wait = self.learner.no_sync()  # type: ignore[operator]
            with wait:
                with autocast_of(self.device, config.precision):
                    part = self.learner(batch.to(self.device))
                # DDP takes the mean over the processes
                (part * (crew.size / total)).backward()
            loss += part.detach().double()
        if crew.size > 1:
            torch.distributed.all_reduce(loss)
        mean = float(loss) / total
        learning = [p for p in self.model.parameters() if p.requires_grad]
        norm = float(torch.nn.utils.clip_grad_norm_(learning, config.grad_clip or math.inf))
        if not (math.isfinite(mean) and math.isfinite(norm)):
            raise ValueError(
                f"the loss is no longer finite at step {step + 1}; lower learning_rate and go on "
                f"with --resume from {self.out / CKPT}, which is from before"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["scale"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return mean, norm, total

    def _held_out(self) -> tuple[float, float]:
        """Loss on held-out poems and the share of free draws that are in form, in every process
        alike."""
        config = self.config
        if not len(self.held):
            return math.nan, math.nan
        with autocast_of(self.device, config.precision):
            found = evaluate(self.model, self.held, config.seed, most=config.eval_poems)
        validity = math.nan
        if config.validity_poems:
            validity = self._validity()
        return found.loss, validity

    def _validity(self) -> float:
        config = self.config
        each = -(-config.validity_poems // _PROMPTS)
        good = count = 0.0
        for which in range(min(_PROMPTS, len(self.held))):
            draw = np.random.default_rng([config.seed, which])
            form = form_of(self.held.tags(which).form)
            ids = self.tokenizer.encode(self.held.prompt(which, draw))
            draws = [np.random.default_rng([config.seed, which, i]) for i in range(each)]
            eos = self.tokenizer.eos
            lattice = self._lattices(form, eos) if self.checkpoint.config.n_states else None
            texts = free_samples(self.model, self.tokenizer, ids, eos, lattice, draws)
            good += valid_share(texts, bare(form)) * each
            count += each
        return good / count

    def _save(self, done: int, val_loss: float) -> None:
        improved = val_loss < self.best or math.isnan(val_loss)  # nothing held out: the newest
        self.best = min(self.best, val_loss)
        if not self.crew.leads:
            return
        config = self.config
        own = self.model.state_dict()
        state = {
            "model": lora.merged(own, config.alpha) if config.lora else own,
            "model_args": asdict(self.checkpoint.config),
            "iter_num": done,
            "config": {
                **said(config),
                "model": self._tokens_of(),
                "prompt_style": prompts.TAGS,
            },
        }
        if config.lora:
            state["lora"] = lora.adapter(own)
        more = {
            "best_val_loss": self.best,
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "stale": self.stale,
            "tokens": self.tokens,
        }
        if improved:
            save(self.out / BEST, state)
        save(self.out / CKPT, {**state, **more})

    def _tokens_of(self) -> str | None:
        """Whose tokens a checkpoint says it uses; None: GPT-2's."""
        config = self.config
        if config.init != SCRATCH:
            return absolute(config.init)
        name = config.tokenizer or str(read_card(config.data)["tokenizer"])
        return None if name == "gpt2" else absolute(name)


def _given(group: dict[str, Any]) -> dict[str, Any]:
    """What a configuration says of a group of parameters."""
    return {name: group[name] for name in ("weight_decay", "betas", "scale")}


class _Learner(torch.nn.Module):
    """Batch in, summed loss out: what is compiled, and what processes share."""

    def __init__(self, model: GPT, distil: float, form_loss: float) -> None:
        super().__init__()
        self.model, self.distil, self.form_loss = model, distil, form_loss

    def forward(self, batch: Any) -> torch.Tensor:
        return losses(self.model, batch, self.distil, self.form_loss).sum()


def _told(val_loss: float, validity: float) -> str:
    told = f"held-out loss {val_loss:.4f}"
    return told if math.isnan(validity) else f"{told}, {validity:.1%} in form unmasked"
