"""The trainer: nanoGPT's recipe (AdamW, warm-up then cosine, clipped gradients) on prepared poems.

Knows the model, its checkpoints and batches of poems. Called by `haiku finetune`, alone or by
`torchrun`. Writes ckpt.pt in nanoGPT's format (the newest, to go on from), best.pt (the lowest
held-out loss) and step_metrics.csv. The same configuration gives the same weights, interrupted or
not: what a step sees follows from seed and step. (One process on a processor, that is; with dropout
on a GPU or in several processes a run that goes on drops other units.)
"""

from __future__ import annotations

import contextlib
import csv
import gc
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from .. import prompts
from ..cache import written_whole
from ..checkpoint import Checkpoint, load
from ..checkpoint_nanogpt import read_file
from ..model import GPT
from ..model_config import GPTConfig
from . import lora
from .batches import Poems, Teachers, form_of, mapped
from .evaluate import evaluate, losses
from .lattices import Lattices, bare
from .prepare import read_card, tokenizer_of
from .validity import free_samples, valid_share

CKPT, BEST, METRICS = "ckpt.pt", "best.pt", "step_metrics.csv"
COLUMNS = (
    "step", "tokens", "lr", "train_loss", "val_loss", "perplexity", "validity", "grad_norm",
    "tokens_per_second",
)  # fmt: skip
SCRATCH = "scratch"
STATE_LR = 100.0  # times the body's learning rate, for the state table
STATE_LR_MOST = 5e-3
PRECISIONS = ("auto", "float32", "bfloat16")
_FASTEST = 1e30  # learning rate; far past any use, and what Adam makes of it is still a float32
_RESUMED = frozenset(
    ("config", "model", "iter_num", "best_val_loss", "optimizer", "rng", "stale", "tokens")
)  # what ckpt.pt holds to go on with
_PROMPTS = 8  # that the validity rate is measured under


@dataclass(frozen=True)
class TrainConfig:
    """All that decides a run. Names and meanings are nanoGPT's where it has them."""

    data: str | Path
    out: str | Path
    init: str = "smollm2"  # name or path of where to start from, or "scratch"
    resume: bool = False  # go on from out/ckpt.pt
    budget: bool = False  # tell the model where in the form it stands
    lora: int = 0  # rank of the adapters; 0: all weights learn
    lora_alpha: float | None = None  # None: twice the rank
    max_iters: int = 400
    batch_size: int = 16  # poems
    gradient_accumulation_steps: int = 1  # in all processes together
    learning_rate: float | None = None  # None: 1e-3 from scratch, 2e-4 for LoRA, else 3e-5
    state_lr: float | None = None  # None: STATE_LR times learning_rate, STATE_LR_MOST at most
    min_lr: float | None = None  # None: a tenth of learning_rate
    warmup_iters: int = 20
    lr_decay_iters: int | None = None  # None: max_iters
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    grad_clip: float = 1.0  # 0 is off
    eval_interval: int = 50
    eval_poems: int = 256  # of the held-out split
    validity_poems: int = 0  # drawn without a mask at each evaluation
    patience: int = 0  # evaluations without a better loss before it stops; 0: never
    tokenizer: str | None = None  # from scratch: whose tokens; None: as the data was prepared
    n_layer: int = 6  # from scratch
    n_head: int = 6
    n_embd: int = 384
    block_size: int = 256
    dropout: float = 0.0
    bias: bool = False
    distil: float = 0.0  # share of the loss that is towards what a teacher thought, if it is known
    form_loss: float = 0.0  # weight of what the form forbids, see `evaluate.losses`
    fold: int | None = None  # held out of the training split instead of the validation split
    precision: str = "auto"  # bfloat16 where the device multiplies it fast
    compile: bool = False
    tensorboard: bool = False  # in out/tensorboard
    seed: int = 1337
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in (
            "max_iters", "batch_size", "gradient_accumulation_steps", "eval_interval",
            "eval_poems",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is not positive; use 1 or more")
        for name in (
            "warmup_iters", "weight_decay", "grad_clip", "lora", "validity_poems", "patience",
            "form_loss",
        ):  # fmt: skip
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} cannot be; use a number from 0 up")
        if self.learning_rate is None:
            usual = 1e-3 if self.init == SCRATCH else 2e-4 if self.lora else 3e-5
            object.__setattr__(self, "learning_rate", usual)
        if not 0 < self.lr <= _FASTEST:
            raise ValueError(
                f"learning_rate={self.learning_rate} is not above 0 and at most {_FASTEST:g}; use "
                "e.g. 3e-5"
            )
        if self.state_lr is not None and not 0 <= self.state_lr <= _FASTEST:
            raise ValueError(
                f"state_lr={self.state_lr} is not from 0 to {_FASTEST:g}; use e.g. 3e-3"
            )
        if self.lora_alpha is not None and not abs(self.lora_alpha) <= _FASTEST:
            raise ValueError(f"lora_alpha={self.lora_alpha} is no scale; use twice the rank, say")
        if self.lr_decay_iters is not None and self.lr_decay_iters < 1:
            raise ValueError(f"lr_decay_iters={self.lr_decay_iters} is not positive; use 1 or more")
        if not 0 <= self.seed < 1 << 63:
            raise ValueError(f"seed={self.seed} is no seed; give a whole number from 0 to 2**63-1")
        if self.min_lr is not None and not 0 <= self.min_lr <= self.lr:
            raise ValueError(f"min_lr={self.min_lr} is not between 0 and learning_rate; lower it")
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"precision={self.precision!r} is unknown; use one of {', '.join(PRECISIONS)}"
            )
        if not 0 <= self.distil <= 1:
            raise ValueError(f"distil={self.distil} is not a share; use 0 to 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} is not in [0, 1); use e.g. 0.1")

    @property
    def lr(self) -> float:
        """The learning rate, chosen or usual."""
        return float(self.learning_rate or 0.0)

    @property
    def alpha(self) -> float:
        """What scales the adapters."""
        return 2.0 * self.lora if self.lora_alpha is None else self.lora_alpha

    @property
    def state_scale(self) -> float:
        """How much faster than the body the state table learns."""
        chosen = min(STATE_LR * self.lr, STATE_LR_MOST) if self.state_lr is None else self.state_lr
        return chosen / self.lr


def lr_at(step: int, config: TrainConfig) -> float:
    """The learning rate of a step, counted from 0: warm-up, cosine decay, then the minimum."""
    top = config.lr
    low = top / 10 if config.min_lr is None else config.min_lr
    end = config.max_iters if config.lr_decay_iters is None else config.lr_decay_iters
    if step < config.warmup_iters:
        return top * (step + 1) / (config.warmup_iters + 1)
    if step >= end:
        return low
    done = (step - config.warmup_iters) / max(1, end - config.warmup_iters)
    return low + 0.5 * (1.0 + math.cos(math.pi * done)) * (top - low)


def device_of(name: str) -> torch.device:
    """The device of that name; "auto" is the GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"device {name!r} is unknown; use auto, cpu, cuda or mps")
    here = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.mps.is_available())}
    if (device.index or 0) >= here[device.type]:
        raise ValueError(f"torch sees no device {name!r} on this machine; use auto or cpu")
    return device


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


@dataclass(frozen=True)
class Crew:
    """The processes that share a run, one on its own by default; started by `torchrun`."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Does this one write files?"""
        return self.rank == 0

    def heard(self, number: int, device: torch.device) -> int:
        """The largest number that any of them says: all stop if one is asked to."""
        if self.size == 1:
            return number
        said = torch.tensor(number, device=device)
        torch.distributed.all_reduce(said, torch.distributed.ReduceOp.MAX)
        return int(said)

    def part(self) -> None:
        """The run is over."""
        if self.size > 1:
            gc.collect()  # a model that outlives its group may abort the process when that ends
            torch.distributed.destroy_process_group()


def crew_of(device: torch.device) -> Crew:
    """The processes that `torchrun` started, joined; one if it did not."""
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return Crew()
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Crew(torch.distributed.get_rank(), torch.distributed.get_world_size())


def board_of(config: TrainConfig) -> Any:
    """A writer for TensorBoard, if it is asked for."""
    if not config.tensorboard:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError(
            "TensorBoard is not installed: pip install tensorboard, or leave --tensorboard out; "
            f"{METRICS} has the same figures"
        ) from None
    return SummaryWriter(str(Path(config.out) / "tensorboard"))


class _Stop:
    """Ctrl-C or a plea to end is heeded once the step is done; a second Ctrl-C at once."""

    def __init__(self) -> None:
        self.asked = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # not in the main thread
                self._before[number] = signal.signal(number, self._heard)
        return self

    def _heard(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = number

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def autocast_of(device: torch.device, precision: str) -> Iterator[None]:
    """bfloat16 where asked; "auto": where the device multiplies it faster.

    A processor that multiplies it fast goes back through attention as products: with rows as short
    as poems the fused kernel's way back takes three times as long.
    """
    fast = device.type == "cuda" or (device.type == "cpu" and _multiplies_bfloat16())
    use = precision == "bfloat16" or (precision == "auto" and fast)
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.autocast(device.type, torch.bfloat16, enabled=use))
        if use and device.type == "cpu":
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


def _multiplies_bfloat16() -> bool:
    """Has the processor instructions for it? A step takes 0.6 of the time with AVX-512's (Zen 5,
    SmolLM2 and adapters), less with AMX."""
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


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
            _begin_metrics(metrics, self.start)
        loss, val_loss, validity = math.nan, math.nan, math.nan
        done = self.start
        if self.start < config.max_iters:
            val_loss, validity = self._held_out()
            self.log(f"step {self.start}: {_told(val_loss, validity)}")
        with _Stop() as stop:
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
                    _append_metrics(metrics, row)
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
            _save(self.out / BEST, state)
        _save(self.out / CKPT, {**state, **more})

    def _tokens_of(self) -> str | None:
        """Whose tokens a checkpoint says it uses; None: GPT-2's."""
        config = self.config
        if config.init != SCRATCH:
            return _absolute(config.init)
        name = config.tokenizer or str(read_card(config.data)["tokenizer"])
        return None if name == "gpt2" else _absolute(name)


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


def said(config: TrainConfig) -> dict[str, Any]:
    """A configuration as a checkpoint keeps it."""
    paths = {"data": str(config.data), "out": str(config.out), "init": _absolute(config.init)}
    return {**asdict(config), **paths}


def _told(val_loss: float, validity: float) -> str:
    told = f"held-out loss {val_loss:.4f}"
    return told if math.isnan(validity) else f"{told}, {validity:.1%} in form unmasked"


def _absolute(model: str) -> str:
    """A path that holds wherever the checkpoint is read from; names stay names."""
    return str(Path(model).resolve()) if Path(model).exists() else model


def _save(path: Path, state: dict[str, Any]) -> None:
    try:
        with written_whole(path) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:
        kept = "the one before it is whole" if path.exists() else "there is none yet"
        raise ValueError(
            f"{path} could not be written ({_first_line(error)}); {kept}: free some space and go "
            "on with --resume"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _begin_metrics(path: Path, start: int) -> None:
    """A file with its header and, when going on, the rows up to the step of the checkpoint."""
    rows: list[list[str]] = []
    if start and path.is_file():
        with path.open(newline="") as file:
            rows = [row for row in list(csv.reader(file))[1:] if row and int(row[0]) <= start]
    with written_whole(path) as temporary, temporary.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


def _append_metrics(path: Path, row: tuple[object, ...]) -> None:
    with path.open("a", newline="") as file:
        csv.writer(file).writerow(row)
