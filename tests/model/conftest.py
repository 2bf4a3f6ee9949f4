"""Small models that transformers made and saved, and the real one, loaded once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_models import MODELS, write_tokenizer

from constrained_gpt.engine import Engine


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """name -> (folder as save_pretrained wrote it, the model itself)."""
    made: dict[str, tuple[Path, Any]] = {}

    def get(name: str) -> tuple[Path, Any]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            model = MODELS[name]()
            model.save_pretrained(folder)
            write_tokenizer(folder, 300)
            made[name] = folder, model
        return made[name]

    return get


@pytest.fixture(scope="session")
def smollm2() -> Engine:
    return Engine.from_pretrained("smollm2", device="cpu")
