"""The leaderboard's page: figures, marks, diagrams or a line in their place; escaped, self-contained, well-formed."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.evaluate import made, small

from consilium.errors import UsageError
from consilium.evaluate import arbitration, board, draw
from consilium.evaluate.answers import systems
from consilium.evaluate.run import run
from consilium.evaluate.score import score

FEW = 30
EVIL = '<script>alert("x")</script>&$\\frac'


class Page(HTMLParser):
    """Tags that were opened and not closed, every id, and which tags there are."""

    VOID = frozenset({"meta", "br", "img", "link", "use", "path"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        self.ids += [str(given["id"])] if "id" in given else []
        self.targets += [str(value) for name, value in attrs if name in ("href", "src", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    n = 12
    truth, _ = made.soft(n, 0)
    made.records(folder, "solo", n=n)
    made.records(folder, "gsco", n=n, sharp=5, votes=truth)
    made.records(folder, "moed", n=8, seed=3)
    made.records(folder / "evil", "moed", n=n, dataset=EVIL, question=EVIL, generalist={"name": EVIL, "version": "1"})
    return folder


@pytest.fixture(scope="module")
def page(places: Path) -> str:
    pytest.importorskip("matplotlib")
    return board.make([places], FEW)


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(page: str) -> None:
    parsed = Page(page)
    assert parsed.open == [] and len(parsed.ids) == len(set(parsed.ids))
    assert "script" not in parsed.tags and all(target.startswith("#") for target in parsed.targets)
    assert {target[1:] for target in parsed.targets} <= set(parsed.ids)
    assert "default-src 'none'" in page and "prefers-color-scheme: dark" in page and 'lang="en"' in page
    assert "://" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", page)


def test_every_text_is_escaped(page: str) -> None:
    assert "<script>" not in page and "&lt;script&gt;" in page and "alert(" in page


def test_the_figures_are_those_of_score(page: str, places: Path) -> None:
    for system in systems([places / "gsco.jsonl"]):
        found = score(system, FEW).figures["accuracy"]
        assert (
            found is not None and f"{found.value:.3f}<small>[{found.low:.3f}, {found.high:.3f}], n = {found.n}" in page
        )


def test_the_best_is_marked_and_what_cannot_be_compared_says_so(page: str) -> None:
    table = page[page.index(">made, test</h2>") :]
    best = next(line for line in table.splitlines() if "<strong>best</strong>" in line)
    assert best.startswith('<tr class="best"><th scope="row">gsco')
    assert "moed <small>answered other cases than the best, so not compared" in page
    assert re.search(r"solo( <strong>not different from the best</strong>)? <small>p = 0\.\d+, Holm", page)


def test_diagrams_take_the_ink_of_the_page(page: str) -> None:
    assert page.count("<svg") == 4 and "currentColor" in page and "#010203" not in page
    assert "Reliability as a table" in page and "vote right,<br>alone wrong" in page
    assert "focus-visible" in page and 'tabindex="0"' in page


def test_without_matplotlib_the_tables_stand_and_a_line_says_how(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw, "can_draw", lambda: False)
    page = board.make([places / "solo.jsonl"], FEW)
    assert "<svg" not in page and "pip install" in page and "Reliability as a table" in page
    assert Page(page).open == []


def test_splits_of_a_dataset_stand_apart(tmp_path: Path) -> None:
    for split in ("test", "train"):
        made.records(tmp_path / split, "solo", n=8, split=split)
        made.records(tmp_path / split, "arbitrated", n=8, seed=1, split=split)
    page = board.make([tmp_path], FEW)
    sections = re.findall(r'<h2 id="set-\d">(.*?)</h2>(.*?)</section>', page, re.DOTALL)
    assert [name for name, _ in sections] == ["made, test", "made, train"]
    assert all(body.count("<strong>best</strong>") == 1 and ", Holm" in body for _, body in sections)


def test_a_misled_council_has_its_tables(place: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run(small.evaluation(place, tmp_path, "moed", study=arbitration.STUDY, wishes={"normal": "normal", "cases": 3}))
    page = board.make([tmp_path], FEW)
    assert '<th scope="row">one wrong' not in page and '<th scope="row">all wrong' not in page
    assert "Misled on purpose" in page and page.count('<th scope="row">1 wrong</th>') == 1 and page.count("<svg") == 1
    assert Page(page).open == []


def test_nothing_to_show_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no records"):
        board.make([tmp_path])
