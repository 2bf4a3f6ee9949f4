"""Which device a model runs on; torch is imported only where a GPU may be found.

Importing torch takes a second, and a processor without a GPU needs none of it to be told so. Knows
no model. Called by `engine`.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

# What torch itself must load to see a GPU: NVIDIA's driver library, under Windows by another name.
_DRIVERS = {"linux": "libcuda.so.1", "win32": "nvcuda.dll"}
_ROCM = Path("/dev/kfd")  # AMD's driver
_HIDDEN = ("", "-1")  # values of *_VISIBLE_DEVICES that hide every GPU


def resolve(name: str) -> str:
    """ "cpu", "cuda" or "cuda:N" for a device's name; "auto" is the GPU where torch sees one.

    ValueError, with the cure, for another name and for a GPU that is not there.
    """
    if name == "auto":
        return "cuda" if has_gpu() else "cpu"
    if name not in ("cpu", "cuda") and not name.startswith("cuda:"):
        raise ValueError(f"device must be auto, cpu or cuda, got {name!r}")
    if name == "cpu":
        return name
    if not has_gpu():
        raise ValueError(
            f"device {name!r} was asked for, but torch sees no GPU; use device='cpu' or 'auto'"
        )
    import torch

    seen, (_, colon, index) = torch.cuda.device_count(), name.partition(":")
    if colon and not (index.isdecimal() and int(index) < seen):
        raise ValueError(
            f"device {name!r} was asked for, but torch sees {seen} GPU{'s' * (seen != 1)}, cuda:0 "
            f"to cuda:{seen - 1}; use one of those or 'auto'"
        )
    return name


def has_gpu() -> bool:
    """Does torch see a GPU? It is asked if it is loaded already or `may_have_gpu`."""
    if "torch" not in sys.modules and not may_have_gpu():
        return False
    import torch

    return bool(torch.cuda.is_available())


def multiplies_bfloat16(name: str) -> bool:
    """Has the device that `resolve` named units for bfloat16? NVIDIA's have from Ampere on; torch
    computes with it on any."""
    if name == "cpu":
        return False
    import torch

    return torch.cuda.get_device_capability(name)[0] >= 8


def may_have_gpu() -> bool:
    """False only where torch could not see a GPU: no driver is installed, or all are hidden."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in _HIDDEN:
        return False
    return _has_driver() or _ROCM.exists()


def _has_driver() -> bool:
    library = _DRIVERS.get(sys.platform)
    if library is None:
        return False
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
