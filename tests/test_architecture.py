"""The import arrows of the project, read off the syntax trees, and other laws of its files."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    "constrained_gpt": ROOT / "constrained_gpt",
    "constrained_gpt.lexicon": ROOT / "lexicon",
    "constrained_gpt.kernels": ROOT / "kernels",
}


def _modules() -> dict[str, Path]:
    """Dotted name as installed -> file, for all modules of the package."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in folder.rglob("*.py"):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(p for p in parts if p != "__init__")] = path
    return found


MODULES = _modules()
TREES = {name: ast.parse(path.read_text("utf-8"), str(path)) for name, path in MODULES.items()}


def _imports(name: str) -> Iterator[str]:
    """Dotted names of all that a module imports, inside functions and for types as well."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                assert node.level <= len(parts), f"{name} imports from above the package"
                above = parts[: len(parts) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in MODULES else base


IMPORTS = {name: sorted(set(_imports(name))) for name in MODULES}


def _within(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


def _reach(start: str) -> dict[str, list[str]]:
    """All that a module imports in the end -> the path there. The lazy package root is no way."""
    paths: dict[str, list[str]] = {start: [start]}
    queue = [start]
    while queue:
        here = queue.pop()
        for there in IMPORTS.get(here, ()):
            if there in paths or there == "constrained_gpt":
                continue
            paths[there] = [*paths[here], there]
            queue.append(there)
    return paths


def _room(name: str) -> str:
    return name if name in ("torch", "numba", "tiktoken") else f"constrained_gpt.{name}"


# Programs, run by hand and imported by no module (a test says so): free to use torch and to seed it.
PROGRAMS = {
    "constrained_gpt.lexicon.measure_estimator",
    "constrained_gpt.lexicon.train_estimator",
}

# room: rooms that it never reaches, directly or through others
FORBIDDEN = {
    "lexicon": "kernels tokenizer lattice model engine generate cli torch numba tiktoken",
    "kernels": "lexicon tokenizer lattice model engine generate cli torch tiktoken",
    "tokenizer": "lexicon lattice model engine decoding generate cli torch",
    "lattice": "model kv_cache checkpoint engine decoding generate cli torch",
    "model": "lexicon lattice tokenizer engine decoding generate cli",
    "checkpoint": "lexicon lattice engine decoding generate cli",
    "engine": "lexicon lattice decoding generate cli",
    "gpu_engine": "lexicon lattice decoding generate cli",
    "lanes": "lexicon lattice tokenizer engine decoding generate cli",
    "decoding": "model checkpoint generate cli",
    "finetune": "decoding evaluation generate cli",
    "finetune.readers": "lexicon lattice tokenizer model torch",
    "finetune.near_duplicates": "lexicon lattice tokenizer model torch",
    "finetune.lora": "lexicon lattice tokenizer model",
    "generate": "cli finetune evaluation",
    "evaluation": "generate finetune cli",
    "corpus": "generate finetune cli",
    "corpus.select": "lattice model checkpoint engine torch",
    # What reads text alone loads no model; what draws and reports measures nothing.
    **{
        f"evaluation.{name}": "kernels tokenizer lattice model engine decoding generate cli torch numba"
        for name in (
            "sources", "text", "diversity", "novelty", "intervals", "measures", "report", "plot",
        )
    },
    "evaluation.judge": "lattice model checkpoint engine",
    "evaluation.form_loss": "model checkpoint engine torch",
}  # fmt: skip


@pytest.mark.parametrize("room", FORBIDDEN)
def test_arrows(room: str) -> None:
    source = _room(room)
    for name in (n for n in MODULES if _within(n, source) and n not in PROGRAMS):
        for reached, path in _reach(name).items():
            for other in FORBIDDEN[room].split():
                assert not _within(reached, _room(other)), " imports ".join(path)


@pytest.mark.parametrize("room", ["lexicon", "kernels"])
def test_rooms_import_relatively(room: str) -> None:
    """Inside lexicon/ and kernels/ no module names the package: the folders could move."""
    for name in (n for n in MODULES if _within(n, _room(room))):
        for node in ast.walk(TREES[name]):
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert node.module is not None
                assert node.module.split(".")[0] not in {"constrained_gpt", "lexicon", "kernels"}, (
                    name
                )
        assert "constrained_gpt" not in IMPORTS[name], f"{name} imports the package above it"
        for imported in IMPORTS[name]:
            if imported.startswith("constrained_gpt"):
                assert _within(imported, _room(room)), f"{name} imports {imported}"


def test_nothing_imports_tests_or_bench() -> None:
    for name, imported in IMPORTS.items():
        assert name in PROGRAMS or not PROGRAMS & set(imported), name
        roots = {i.split(".")[0] for i in imported}
        assert not roots & {"tests", "bench", "lexicon", "kernels"}, name


def test_no_utils() -> None:
    assert not [
        path for path in MODULES.values() if path.stem in {"utils", "util", "helpers", "misc"}
    ]


def test_modules_open_by_saying_what_they_do() -> None:
    silent = [name for name, tree in TREES.items() if not ast.get_docstring(tree)]
    assert not silent


def test_numba_options_stand_in_one_place() -> None:
    """`_simd`, `_index` and `_threads` write instructions with numba's own tools, and compile
    nothing."""
    users = {
        name: [i for i in imported if _within(i, "numba")] for name, imported in IMPORTS.items()
    }
    for name in ("_simd", "_index", "_threads"):
        writer = users.pop(f"constrained_gpt.kernels.{name}")
        assert set(writer) <= {"numba.core", "numba.core.registry", "numba.extending"}
    assert [name for name, used in users.items() if used] == ["constrained_gpt.kernels._jit"]


def test_data_never_runs_code() -> None:
    for name, tree in TREES.items():
        assert not {"pickle", "dill", "joblib", "marshal"} & {
            i.split(".")[0] for i in IMPORTS[name]
        }, name
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            options = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if called == "torch.load":
                assert options.get("weights_only") == "True", f"{name}:{node.lineno}"
            if called in {"np.load", "numpy.load"}:
                assert options.get("allow_pickle", "False") == "False", f"{name}:{node.lineno}"
            assert called not in {"eval", "exec"}, f"{name}:{node.lineno}"


def test_no_global_seed() -> None:
    for name, tree in TREES.items():
        for node in ast.walk(tree) if name not in PROGRAMS else ():
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {"np.random.seed", "torch.manual_seed", "random.seed"}, (
                    f"{name}:{node.lineno}"
                )


def test_all_packages_are_installed() -> None:
    tomllib = pytest.importorskip("tomllib")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert set(declared["packages"]) == packages
    folders = {path.parent for path in MODULES.values()}
    assert all((folder / "__init__.py").is_file() for folder in folders)


def _loaded(code: str) -> set[str]:
    """The modules that are loaded after some code ran in a fresh interpreter."""
    script = f"{code}\nimport sys\nprint(chr(10) + ' '.join(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=True, timeout=120, cwd=ROOT / "tests",
    )  # fmt: skip
    return set(run.stdout.rsplit("\n", 2)[-2].split())


HEAVY = {"torch", "numba", "tiktoken", "transformers", "matplotlib"}


@pytest.mark.parametrize(
    "code",
    [
        "import constrained_gpt",
        "import constrained_gpt.cli",
        "import constrained_gpt.lexicon",
        "from constrained_gpt import HAIKU, validate; validate('a frog', HAIKU)",
        "import constrained_gpt.evaluation, constrained_gpt.evaluation.plot",
        "import sys, io; sys.stdin = io.TextIOWrapper(io.BytesIO(b'a frog'));"
        "from constrained_gpt.cli import main; main(['eval', '--judge', 'none', '-'])",
        "import sys, io; sys.stdin = io.TextIOWrapper(io.BytesIO(b'a frog'));"
        "from constrained_gpt.cli import main; main(['check', '-'])",
    ],
)
def test_light_imports(code: str) -> None:
    assert not _loaded(code) & HEAVY


def test_kernels_load_no_torch() -> None:
    assert "torch" not in _loaded("import constrained_gpt.kernels")


def test_generate_is_a_function_however_it_was_imported() -> None:
    code = (
        "import constrained_gpt.generate, constrained_gpt as c;"
        "from constrained_gpt import generate;"
        "assert callable(generate) and c.generate is generate; "
        "from constrained_gpt.generate import generate as g; assert g is generate"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=ROOT / "tests")


def test_public_names_exist() -> None:
    import constrained_gpt

    for name in constrained_gpt.__all__:
        assert getattr(constrained_gpt, name) is not None
    assert set(constrained_gpt.__all__) <= set(dir(constrained_gpt))
    with pytest.raises(AttributeError, match="nonsense"):
        constrained_gpt.nonsense  # noqa: B018
