"""What starting up loads: no torch where the weights are bytes and kept, and a GPU is still found."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from constrained_gpt import cache, checkpoint, checkpoint_common, device, int8_model
from constrained_gpt.engine import Engine
from constrained_gpt.int8_engine import Int8Engine
from constrained_gpt.int8_model import Int8Model
from constrained_gpt.kernels._team import Team
from constrained_gpt.model_config import GPTConfig

TESTS = Path(__file__).parent.parent


def loaded(code: str, folder: Path) -> tuple[str, set[str]]:
    """What some code prints in a fresh interpreter, and the packages it has loaded in the end."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=TESTS,
        env={**os.environ, cache.ENVIRONMENT: str(folder), "CUDA_VISIBLE_DEVICES": ""}, timeout=600,
    )  # fmt: skip
    printed, _, modules = run.stdout.rstrip("\n").rpartition("\n")
    return printed, {name.partition(".")[0] for name in json.loads(modules)}


WRITE = "from constrained_gpt.cli import main\nassert main(['write', 'autumn rain', '--seed', '1']) == 0"


@pytest.mark.weights
@pytest.mark.slow
def test_writing_loads_no_torch_and_the_cache_changes_no_poem(tmp_path: Path) -> None:
    first, fresh = loaded(WRITE, tmp_path)
    second, kept = loaded(WRITE, tmp_path)
    assert first == second
    assert first.count("\n") == 2
    assert "torch" not in fresh  # GGUF is read without it
    assert not kept & {"torch", "transformers", "gguf", "safetensors", "scipy"}
    assert {path.name for path in tmp_path.iterdir()} >= {"int8", "lattice"}


def test_importing_loads_neither_torch_nor_numba(tmp_path: Path) -> None:
    code = "import constrained_gpt\nfrom constrained_gpt import Engine, from_pretrained"
    _, modules = loaded(code, tmp_path)
    assert not modules & {"torch", "numba"}


# quantised weights on disk
@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "cache"))
    return tmp_path / "cache"


def same(a: Int8Model, b: Int8Model) -> None:
    one, other = a.arrays(), b.arrays()
    assert a.shape == b.shape
    assert list(one) == list(other)
    for name in one:
        assert one[name].dtype == other[name].dtype
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("name", ["gpt2", "gpt2-untied", "llama-gqa-tied", "llama-head-dim"])
def test_kept_weights_are_the_quantised_ones(name: str, saved: Any, folder: Path) -> None:
    made, _ = saved(name)
    fresh = int8_model.load(made)
    read: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "load", read.append)
        kept = int8_model.load(made)
    assert not read
    same(kept.model, fresh.model)
    assert (kept.config, kept.name) == (fresh.config, fresh.name)
    assert kept.tokenizer.content_hash == fresh.tokenizer.content_hash
    (file,) = (folder / int8_model.KIND).iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    same(int8_model.load(made).model, fresh.model)  # damaged: made again
    same(int8_model.load(made).model, fresh.model)


def test_other_weights_under_the_same_name_are_other_weights(
    saved: Any, folder: Path, tmp_path: Path
) -> None:
    """Same path, size and modification time."""
    made, _ = saved("gpt2")
    copy = tmp_path / "model"
    shutil.copytree(made, copy)
    old = int8_model.load(copy)
    weights = copy / "model.safetensors"
    stat = weights.stat()
    data = bytearray(weights.read_bytes())
    data[-400:] = np.full(100, 0.25, np.float32).tobytes()
    weights.write_bytes(data)
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    new = int8_model.load(copy)
    with pytest.raises(AssertionError):
        same(new.model, old.model)
    same(new.model, Int8Engine.from_checkpoint(checkpoint.load(copy)).model)


def test_the_version_says_what_the_quantiser_makes() -> None:
    """If this fails, what is on disk means something else now: raise VERSION, then the sum here."""
    config = GPTConfig(
        block_size=8, vocab_size=70, n_layer=1, n_head=2, n_embd=12, n_inner=20, bias=False,
        norm="rmsnorm", mlp="swiglu", rope_theta=100.0, tied=False,
    )  # fmt: skip
    state = {}
    for number, (name, shape) in enumerate(checkpoint_common.expected_shapes(config).items(), 1):
        values = np.arange(np.prod(shape), dtype=np.float32) * 7 * number % 31 - 15
        state[name] = values.reshape(shape) / np.float32(8)
    arrays = Int8Model.quantize(config, state).arrays()
    digest = hashlib.sha256()
    for name in sorted(arrays.keys() - {"cos", "sin"}):  # these may differ by processor
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    assert (int8_model.VERSION, digest.hexdigest()[:16]) == (3, "178fb152a36d684b")


def test_the_engine_from_the_cache_gives_the_same_logits(saved: Any, folder: Path) -> None:
    made, _ = saved("llama-gqa-untied")
    engines = [Engine.from_pretrained(made, dtype="int8") for _ in range(2)]
    engines.append(Int8Engine.from_checkpoint(checkpoint.load(made)))
    steps = []
    for engine in engines:
        kept, logits = engine.prefill([3, 1, 4, 1, 5], 2, 3)
        steps.append(np.vstack([logits, engine.decode_step(kept, np.array([9, 2]))]))
    np.testing.assert_array_equal(steps[0], steps[1])
    np.testing.assert_array_equal(steps[0], steps[2])


@pytest.mark.parametrize("base", [None, "base"])
def test_a_nanogpt_checkpoint_from_the_cache_needs_no_torch(
    base: str | None, saved: Any, folder: Path, tmp_path: Path
) -> None:
    """Its format is torch's own, and so is where it says whose tokens it uses."""
    torch = pytest.importorskip("torch")
    from constrained_gpt.model import GPT

    changes: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 8, "block_size": 16}
    content: dict[str, Any] = {}
    if base is None:
        changes["vocab_size"] = 50304
    else:
        changes["vocab_size"] = 300
        content["config"] = {"model": str(saved("gpt2")[0])}
    model = GPT(GPTConfig(**changes))
    path = tmp_path / "ckpt.pt"
    torch.save({"model": model.state_dict(), "model_args": changes, **content}, path)
    wanted = Engine.from_pretrained(path, dtype="int8")
    code = (
        "from constrained_gpt import from_pretrained\n"
        f"engine = from_pretrained({str(path)!r}, dtype='int8')\n"
        "print(engine.tokenizer.content_hash, float(engine.prefill([1, 2], 1, 1)[1].sum()))"
    )
    printed, modules = loaded(code, folder)
    total = float(wanted.prefill([1, 2], 1, 1)[1].sum())
    assert printed == f"{wanted.tokenizer.content_hash} {total}"
    assert "torch" not in modules


# which device, found out without torch
class Torch:
    """A torch that counts how often it is asked for a GPU."""

    def __init__(self, has_gpu: bool) -> None:
        self.asked = 0
        self.has_gpu = has_gpu
        self.cuda = self

    def is_available(self) -> bool:
        self.asked += 1
        return self.has_gpu

    def device_count(self) -> int:
        return int(self.has_gpu)


@pytest.mark.parametrize(
    ("driver", "hidden", "torch_is_loaded", "has_gpu", "wanted", "asked"),
    [
        (False, None, False, True, "cpu", 0),  # no driver: torch could see nothing
        (True, None, False, True, "cuda", 1),
        (True, None, False, False, "cpu", 1),  # a driver, and a torch without CUDA
        (True, "", False, True, "cpu", 0),  # all GPUs are hidden
        (True, "-1", False, True, "cpu", 0),
        (True, "0", False, True, "cuda", 1),
        (False, None, True, True, "cuda", 1),  # it is there anyway: it knows best
        (False, None, True, False, "cpu", 1),
    ],
)
def test_a_gpu_is_found_and_torch_asked_only_where_there_may_be_one(
    driver: bool, hidden: str | None, torch_is_loaded: bool, has_gpu: bool, wanted: str, asked: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    torch = Torch(has_gpu)
    monkeypatch.setitem(sys.modules, "torch", torch)
    seen = {"torch": torch} if torch_is_loaded else {}
    monkeypatch.setattr(device, "sys", SimpleNamespace(modules=seen, platform="linux"))
    monkeypatch.setattr(device, "_has_driver", lambda: driver)
    monkeypatch.setattr(device, "_ROCM", Path("/absent"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert device.resolve("auto") == wanted
    assert torch.asked == asked
    assert device.resolve("cpu") == "cpu"
    assert torch.asked == asked
    if wanted == "cuda":
        assert device.resolve("cuda:0") == "cuda:0"
        for absent in ("cuda:1", "cuda:x", "cuda:-1", "cuda:"):
            with pytest.raises(ValueError, match="cuda"):
                device.resolve(absent)
    else:
        with pytest.raises(ValueError, match="sees no GPU; use device='cpu'"):
            device.resolve("cuda")
    with pytest.raises(ValueError, match="must be auto, cpu or cuda"):
        device.resolve("tpu")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a Linux call")
@pytest.mark.parametrize(
    ("asked", "allowed", "wanted"),
    [("1", 2, 1), ("2", 2, 2), ("64", 2, 2), ("64", 1, 1), (None, 1, 1), ("", 2, 2), ("x", 2, 2)],
)
def test_threads_are_as_many_as_asked_and_allowed(
    asked: str | None, allowed: int, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert Team().threads == wanted


def test_auto_is_what_torch_says_on_this_machine() -> None:
    torch = pytest.importorskip("torch")
    code = "from constrained_gpt import device; print(device.resolve('auto'))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ("cuda" if torch.cuda.is_available() else "cpu")
