"""Members are found by name from three sources, and what is wrong with one is said with the place to mend it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from consilium import registry
from consilium.errors import MemberError, UnknownMemberError
from consilium.train import trained_folder

SHIPPED = registry.get("specialists", "cxr_pneumonia")


def trained_here(home: Path, called: str, /, **changes: Any) -> Path:
    """A card.json under CONSILIUM_HOME: that of a shipped specialist, changed; returns its path."""
    folder = home / "specialists" / called
    folder.mkdir(parents=True)
    assert SHIPPED.folder is not None
    card = json.loads((SHIPPED.folder / "card.json").read_text()) | {"name": called} | changes
    (folder / "card.json").write_text(json.dumps({key: value for key, value in card.items() if value is not None}))
    return folder / "card.json"


def test_every_kind_is_found_sorted_with_a_card_of_that_kind(home: Path) -> None:
    for kind in registry.KINDS:
        members = registry.find(kind)
        assert members and list(members) == sorted(members)
        assert all(member.card.kind == kind[:-1] and member.card.name == name for name, member in members.items())


def test_what_the_user_trained_beats_the_shipped_one_of_the_same_name(home: Path) -> None:
    assert registry.get("specialists", "cxr_pneumonia").origin == "shipped"
    path = trained_here(home, "cxr_pneumonia", summary="mine")
    mine = registry.get("specialists", "cxr_pneumonia")
    assert (mine.origin, mine.folder, mine.card.summary) == ("trained here", path.parent, "mine")
    shutil.rmtree(path.parent)
    assert registry.get("specialists", "cxr_pneumonia") == SHIPPED


@pytest.mark.parametrize(
    "changes",
    [
        {"version": None},
        {"concepts": [{"value": "x"}]},
        {"concepts": 3},
        {"groups": ["a"]},
        {"scores": [{"n": 1}]},
        {"scores": [{"metric": "AUROC", "value": "x", "low": 0, "high": 1, "n": 3}]},
    ],
    ids=str,
)
def test_a_broken_card_is_named(home: Path, changes: dict[str, Any]) -> None:
    path = trained_here(home, "broken", **changes)
    with pytest.raises(MemberError, match="is not a member's card") as caught:
        _ = registry.get("specialists", "broken").card
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_a_card_that_is_no_json_object_is_named(home: Path, text: str) -> None:
    path = trained_here(home, "broken")
    path.write_text(text, encoding="latin-1")
    with pytest.raises(MemberError) as caught:
        registry.find("specialists")
    assert str(path) in str(caught.value) and "remove it" in str(caught.value)


@pytest.mark.parametrize("loader", [None, "", "../light", 3])
def test_a_card_without_a_loader_is_named(home: Path, loader: object) -> None:
    path = trained_here(home, "broken", loader=loader)
    with pytest.raises(MemberError, match="names no loader") as caught:
        registry.find("specialists")
    assert str(path) in str(caught.value)


def test_a_loader_that_there_is_not_is_named(home: Path) -> None:
    trained_here(home, "broken", loader="heavy")
    with pytest.raises(MemberError, match=r"consilium\.specialists\.heavy cannot be imported"):
        registry.get("specialists", "broken").load()


def test_a_folder_that_was_renamed_is_refused_rather_than_mixed_up(home: Path) -> None:
    trained_here(home, "mine", name="yours")
    with pytest.raises(MemberError, match="is the card of 'yours', found under the name 'mine'"):
        _ = registry.get("specialists", "mine").card


def test_unknown_names_list_what_there_is(home: Path) -> None:
    with pytest.raises(UnknownMemberError, match="encoders, specialists, generalists, retrievers"):
        registry.find("oracles")
    with pytest.raises(UnknownMemberError, match=r"no specialist is called 'guess'; there are: .*cxr_pneumonia"):
        registry.get("specialists", "guess")


MODULE = """
from consilium.protocols import Card
CARD = Card(kind="generalist", name="{name}", version="1", summary="from elsewhere")
def load(**options):
    return options
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    """Somebody else's installed package, with two generalists behind entry points, one of which cannot be imported."""
    site = tmp_path / "site"
    info = site / "elsewhere-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[consilium.generalists]\nsage = sage_module\nlame = lame_module\nbare = bare_module\n"
    )
    (site / "sage_module.py").write_text(MODULE.format(name="sage"))
    (site / "lame_module.py").write_text("from json import no_such_name\n")
    (site / "bare_module.py").write_text("")
    monkeypatch.syspath_prepend(str(site))
    return site


def test_another_package_brings_members_by_entry_points(package: Path) -> None:
    sage = registry.get("generalists", "sage")
    assert (sage.origin, sage.card.summary) == ("package elsewhere", "from elsewhere")
    assert sage.load(model="m") == {"model": "m"}
    assert "echo" in registry.find("generalists") and "sage" not in registry.find("encoders")


def test_a_package_that_is_broken_is_named_when_it_is_asked(package: Path) -> None:
    members = registry.find("generalists")
    with pytest.raises(MemberError, match=r"lame_module cannot be imported: .*no_such_name"):
        members["lame"].load()
    with pytest.raises(MemberError, match="bare_module has no CARD"):
        _ = members["bare"].card


def test_what_a_kill_left_is_no_member(home: Path) -> None:
    fresh = trained_here(home, ".knee-half", name="knee").parent
    assert "knee" not in registry.find("specialists") and ".knee-half" not in registry.find("specialists")
    # killed between the two renames of a swap: the old one serves until the next training
    old = home / "specialists/.knee-old-x"
    old.mkdir()
    fresh.rename(old / "knee")
    assert registry.get("specialists", "knee").folder == old / "knee"
    trained_folder.copy(old / "knee", home / "specialists/knee")
    assert registry.get("specialists", "knee").folder == home / "specialists/knee"
    assert not old.exists()
