"""The rules of the house that a machine can keep: who may import whom, how long a file is, what is never written."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from consilium import errors, registry
from consilium.formats import sniff

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/consilium"
MODULES = sorted(SOURCE.rglob("*.py"))
LONGEST_LINES = 300
LARGEST_BYTES = 12_000_000
PICKLED = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".npy", ".npz", ".joblib", ".ckpt"}
# In pieces, since this file is searched for them too.
REGISTRY_HOSTS = ("pypi" + ".org", "pythonhosted" + ".org", "anaconda" + ".org", "npmjs" + ".com")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("needs a git checkout")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_imports_go_strictly_down() -> None:
    # In a process of its own: the linter's logging configuration would silence the loggers of every later test.
    words = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_every_floor_stands_in_the_contract() -> None:
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[tool.importlinter]")[2]
    floors = {p.stem for p in SOURCE.iterdir() if (p.is_dir() and (p / "__init__.py").is_file()) or p.suffix == ".py"}
    assert {floor for floor in floors if not floor.startswith("__")} == set(re.findall(r"consilium\.(\w+)", contract))


def test_no_module_is_longer_than_a_sitting() -> None:
    long = {named(p): n for p in MODULES if (n := len(p.read_text(encoding="utf-8").splitlines())) > LONGEST_LINES}
    assert long == {}


def test_every_module_says_what_it_is() -> None:
    without = [named(p) for p in MODULES if p.stat().st_size and not ast.get_docstring(ast.parse(p.read_text("utf-8")))]
    assert without == []


def test_nothing_prints() -> None:
    found = [named(p) for p in MODULES for c in calls(p) if isinstance(c.func, ast.Name) and c.func.id == "print"]
    assert found == []


def test_nothing_is_pickled_and_torch_loads_weights_alone() -> None:
    assert [named(p) for p in MODULES if imported(p) & {"pickle", "cPickle", "dill", "joblib", "marshal"}] == []
    loads = [(p, c) for p in MODULES for c in calls(p) if ast.unparse(c.func) == "torch.load"]
    unsafe = [named(p) for p, c in loads if "weights_only=True" not in map(ast.unparse, c.keywords)]
    assert unsafe == []
    arrays = [c for p in MODULES for c in calls(p) if "allow_pickle=True" in map(ast.unparse, c.keywords)]
    assert arrays == []


def test_why_a_file_cannot_be_read_ends_in_a_full_stop() -> None:
    """Others add to it: a hint, or what to do with the row of a table."""
    every = (*vars(errors).items(), *vars(sniff).items())
    kinds = {name for name, value in every if isinstance(value, type) and issubclass(value, errors.ReadError)}
    unfinished = []
    for path in (path for path in MODULES if "formats" in path.parts):
        for call in (call for call in calls(path) if ast.unparse(call.func) in kinds):
            said = call.args[0].values[-1] if isinstance(call.args[0], ast.JoinedStr) else call.args[0]
            if not (isinstance(said, ast.Constant) and str(said.value).endswith(".")):
                unfinished.append(f"{named(path)}, line {call.lineno}")
    assert {"ReadError", "DamagedFileError", "AuxiliaryFileError"} <= kinds and unfinished == []


def test_nothing_that_went_wrong_is_swallowed() -> None:
    silent = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            broad = isinstance(node, ast.ExceptHandler) and (node.type is None or "Exception" in ast.unparse(node.type))
            if broad and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node)):
                silent.append(f"{named(path)}:{node.lineno}")
    assert silent == []


@pytest.mark.parametrize("kind", registry.KINDS)
def test_a_member_lies_in_the_file_that_bears_its_name(kind: str) -> None:
    found = []
    for path in sorted((SOURCE / kind).glob("*.py")):
        card = getattr(importlib.import_module(f"consilium.{kind}.{path.stem}"), "CARD", None)
        if card is not None:
            assert (card.name, card.kind) == (path.stem, kind[:-1])
            found.append(card.name)
    assert found == [name for name, member in registry.find(kind).items() if member.origin == "built in"]


def test_what_git_keeps_is_small_and_holds_no_code() -> None:
    files = tracked()
    assert {named(p): p.stat().st_size for p in files if p.stat().st_size > LARGEST_BYTES} == {}
    assert [named(p) for p in files if p.suffix in PICKLED] == []


def test_no_package_registry_is_named() -> None:
    files = [p for p in tracked() if p.stat().st_size < LARGEST_BYTES]
    found = [named(p) for p in files for host in REGISTRY_HOSTS if host.encode() in p.read_bytes()]
    assert found == []
