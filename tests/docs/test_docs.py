"""The documentation holds: figures are those of results/, links lead somewhere, commands parse, Python runs."""

from __future__ import annotations

import ast
import importlib
import json
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from benchmarks import figure_rows, readme_figures, write_cards
from consilium import cli, registry, weights

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")],
    key=lambda page: page.relative_to(ROOT).as_posix(),
)
FENCE = re.compile(r"^```(?P<kind>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\]\((?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?\)")
HELP = {"-h", "--help"}

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def fences(page: Path, kind: str) -> list[str]:
    return [match["body"] for match in FENCE.finditer(text_of(page)) if match["kind"].strip() == kind]


def typed_commands(page: Path) -> Iterator[list[str]]:
    """The words of every command line in a sh block: joined at backslashes, without comment, variables and redirections."""
    for body in fences(page, "sh"):
        for line in body.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            end = next((i for i, word in enumerate(words) if word in {"|", ">", "&&"}), len(words))
            if words[:end]:
                yield [words[0].removeprefix(".venv/bin/"), *words[1:end]]


def mentioned_commands(page: Path) -> Iterator[list[str]]:
    """The words of every command that the running text names between backticks."""
    for match in INLINE.finditer(FENCE.sub("", text_of(page))):
        if re.match(r"(consilium|make|python) ", match[1]):
            yield match[1].replace("'", "").split()


def descend(words: list[str]) -> tuple[Any, list[str]]:
    """The (sub-)command that the words after `consilium` name, and the words that are left for it."""
    command = typer.main.get_command(cli.app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    if hasattr(command, "commands"):
        assert not words or words[0].startswith("-"), f"{command.name} has no command {words[0]}"
    return command, words


@every_page
def test_typed_commands_parse(page: Path) -> None:
    for words in typed_commands(page):
        if words[0] == "consilium":
            command, rest = descend(words[1:])
            command.make_context(command.name, rest)


@every_page
def test_named_commands_exist(page: Path) -> None:
    for words in [*typed_commands(page), *mentioned_commands(page)]:
        if words[0] == "consilium":
            command, rest = descend(words[1:])
            known = HELP | {name for parameter in command.params for name in parameter.opts}
            assert {word for word in rest if word.startswith("-")} <= known
        elif words[0] == "make":
            assert f"\n{words[1]}:" in text_of(ROOT / "Makefile")
        elif words[0] == "python" and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file()


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for match in LINK.finditer(FENCE.sub("", text_of(page))):
        if match["path"].startswith(("http:", "https:")):
            continue
        target = page.parent / match["path"] if match["path"] else page
        assert target.exists(), f"{match['path']} is not there"
        if match["anchor"]:
            assert match["anchor"] in anchors(target)


def anchors(page: Path) -> set[str]:
    """The names that headings get where Markdown is shown: lower case, spaces as hyphens, no punctuation."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_python_compiles_and_its_imports_are_there(page: Path) -> None:
    for body in fences(page, "python"):
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("consilium"):
                module = importlib.import_module(node.module or "")
                for name in node.names:
                    assert hasattr(module, name.name) or importlib.import_module(f"{node.module}.{name.name}")


@pytest.mark.parametrize("page", [page for page in PAGES if fences(page, "python run")], ids=lambda page: page.name)
def test_python_runs(page: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of one page are one program, run in an empty folder beside the examples."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "blocks.py").write_text("\n\n".join(fences(page, "python run")), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path("blocks.py")


def test_some_python_runs() -> None:
    assert {page.name for page in PAGES if fences(page, "python run")} >= {"tour.md", "add_a_specialist.md"}


def test_figures_of_the_readme_are_those_of_the_results(home: Path) -> None:
    page = text_of(ROOT / "README.md")
    shown = page[page.index(readme_figures.BEGIN) + len(readme_figures.BEGIN) : page.index(readme_figures.END)]
    assert shown.strip() == readme_figures.block(ROOT / "results"), "run python benchmarks/readme_figures.py"
    for name, beginnings in readme_figures.SHOWN.items():
        figures = next(rows for file, _, rows in figure_rows.sections(ROOT / "results") if file == name)
        assert all(any(row.figure.startswith(words) for row in figures) for words in beginnings), name


def test_the_page_of_figures_holds_every_one(home: Path) -> None:
    page = text_of(readme_figures.ALL)
    assert page == readme_figures.whole(ROOT / "results"), "run python benchmarks/readme_figures.py"
    assert page.count("`make specialists`") == 1 and all(name in page for name in registry.find("specialists"))


def test_figures_come_from_the_files_that_are_there(tmp_path: Path) -> None:
    assert list(figure_rows.sections(tmp_path)) == []
    score = {"value": 0.5, "low": 0.25, "high": float("nan"), "n": 1200}
    report = {"command": "python x.py", "accuracy": {"all": {"gsco": score}}}
    (tmp_path / "policies.json").write_text(json.dumps(report))
    ((name, _, (row,)),) = figure_rows.sections(tmp_path)
    assert name == "policies" and row.cells() == (
        "gsco, all sets: accuracy",
        "0.500 [0.250, -]",
        "1,200",
        "`python x.py`",
    )


def test_cards_are_current(home: Path) -> None:
    assert text_of(write_cards.PAGE) == write_cards.page(), "run python benchmarks/write_cards.py"


def test_every_decision_is_listed() -> None:
    room = ROOT / "docs/decisions"
    assert all(f"]({page.name})" in text_of(room / "README.md") for page in room.glob("0*.md"))


def test_notice_names_what_is_shipped_and_fetched(home: Path) -> None:
    notice = text_of(ROOT / "NOTICE")
    shipped = {member.name for member in registry.find("specialists").values() if member.origin == "shipped"}
    pictures = {path.name for path in (ROOT / "examples").glob("*.jpg")}
    assert shipped and pictures
    assert [name for name in sorted(shipped | pictures | set(weights.names())) if name not in notice] == []
