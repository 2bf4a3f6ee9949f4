"""The cache folder: what comes back is what was put in, and damage of any kind is a miss."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from constrained_gpt import cache, file_hash

LARGE = np.arange(9 << 17, dtype=np.uint8).reshape(3, -1)  # larger than what is summed whole
ARRAYS = {
    "large": LARGE,
    "small": np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4),
    "turned": np.arange(6).reshape(2, 3).T,
    "none": np.zeros((0, 5), np.int32),
    "one": np.array(7.5),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path))
    return tmp_path


@pytest.fixture
def saved(folder: Path) -> Path:
    cache.save_arrays("kind", "key", ARRAYS)
    (path,) = (folder / "kind").iterdir()
    return path


def test_arrays_come_back(saved: Path) -> None:
    found = cache.load_arrays("kind", "key")
    assert found is not None
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert cache.load_arrays("kind", "other") is None


def test_writing_to_them_leaves_the_file(saved: Path) -> None:
    found = cache.load_arrays("kind", "key")
    assert found is not None
    found["large"][:] = 1
    again = cache.load_arrays("kind", "key")
    assert again is not None
    np.testing.assert_array_equal(again["large"], LARGE)


def test_every_damage_is_a_miss(saved: Path) -> None:
    whole = saved.read_bytes()
    small = whole.index(ARRAYS["small"].tobytes())
    large = whole.index(LARGE.tobytes())
    damaged = {
        "empty": b"",
        "cut short": whole[:-1],
        "cut in the header": whole[:40],
        "longer": whole + b"\0",
        "of an older format": b"arrays01" + whole[8:],
    }
    flipped = [*range(200), *range(small, small + 48)]
    for at in flipped:
        damaged[f"byte {at} flipped"] = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    for page in range(-(-large // 4096), (large + LARGE.nbytes) // 4096, 3):
        at = 4096 * page
        damaged[f"page {page} lost"] = whole[:at] + bytes(4096) + whole[at + 4096 :]
    missed = []
    for name, data in damaged.items():
        saved.write_bytes(data)
        if cache.load_arrays("kind", "key") is not None:
            missed.append(name)
    # a page is noticed by one or two of its bytes, and one in 256 of those is 0 anyway
    assert len([name for name in missed if name.startswith("page")]) < 4, missed
    assert not [name for name in missed if not name.startswith("page")]
    saved.write_bytes(whole)
    assert cache.load_arrays("kind", "key") is not None


def test_a_folder_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv(cache.ENVIRONMENT, str(blocked))
    cache.save_arrays("kind", "key", ARRAYS, keep=2)
    assert cache.load_arrays("kind", "key") is None


def test_only_the_files_used_last_are_kept(folder: Path) -> None:
    small = {"small": ARRAYS["small"]}
    for number in range(3):
        cache.save_arrays("kind", str(number), small)
        os.utime(folder / "kind" / f"{number}.arrays", (number, number))
    half = [folder / "kind" / name for name in ("old.part", "new.part")]
    for path in half:
        path.write_bytes(b"half written")
    os.utime(half[0], (0, 0))
    assert cache.load_arrays("kind", "0") is not None  # used now, so the last to go
    cache.save_arrays("kind", "3", small, keep=2)
    left = sorted(path.name for path in (folder / "kind").iterdir())
    assert left == ["0.arrays", "3.arrays", "new.part"]


def test_a_hash_is_remembered_until_the_file_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "weights"
    path.write_bytes(b"one" * 1000)
    stat = path.stat()
    first = file_hash.file_hash(path)
    assert not (folder / "hash").exists()  # it might still be written to: nothing is remembered
    later = time.time_ns() + 10**10
    monkeypatch.setattr(file_hash.time, "time_ns", lambda: later)
    assert file_hash.file_hash(path) == first
    (note,) = (folder / "hash").iterdir()
    known = note.read_text()
    note.write_text(known.replace(first, "0" * 64))
    assert file_hash.file_hash(path) == "0" * 64  # read from the note, not from the file
    time.sleep(0.01)  # one tick of a coarse clock
    path.write_bytes(b"two" * 1000)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # size and mtime as they were
    second = file_hash.file_hash(path)
    assert second not in (first, "0" * 64)
    note.write_text("damaged")
    assert file_hash.file_hash(path) == second
    with pytest.raises(FileNotFoundError):
        file_hash.file_hash(folder / "absent")


@pytest.mark.skipif(os.name != "posix", reason="rights are POSIX")
def test_what_is_written_whole_has_the_rights_of_any_file(tmp_path: Path) -> None:
    """Others may read a model or a corpus that somebody made, if the umask says so."""
    (tmp_path / "plain").write_bytes(b"")
    with cache.written_whole(tmp_path / "whole") as scratch:
        scratch.write_bytes(b"all of it")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode
    with cache.written_whole(tmp_path / "theirs") as scratch:  # safetensors renames its own file
        other = tmp_path / "private"
        other.touch(0o600)
        other.replace(scratch)
    assert (tmp_path / "theirs").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain", "theirs", "whole"]
