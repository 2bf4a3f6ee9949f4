"""Where a run runs: its device and precision, the processes that share it, and being asked to stop.

Knows torch; no model, no data and no file. Called by `train`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


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


class Stop:
    """Ctrl-C or a plea to end is heeded once the step is done; a second Ctrl-C at once."""

    def __init__(self) -> None:
        self.asked = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
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
