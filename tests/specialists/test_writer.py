"""A writer: a checkpoint's report is a draft before the generalist, on the page and in the record; a closed question lacks it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from tests import phantoms
from tests.generalists import tiny

from consilium import registry
from consilium.cli.show import show
from consilium.consult import returns
from consilium.consult.council import case_of, consult
from consilium.consult.panel import Panel
from consilium.consult.prompt import shortened
from consilium.encoders import patch_statistics
from consilium.errors import MemberError, UsageError
from consilium.formats import page, record
from consilium.generalists import hf
from consilium.specialists import writer
from consilium.types import Case, Consultation, Image, Message, Opinion, Study

CARD = """
name = "scribe"
summary = "Writes reports on phantoms."
modality = ["MR"]
licence = "CC0-1.0"

[writer]
prompt = "Question: what does the image show?"
max_tokens = 12
"""
PICTURE = Image(phantoms.draw(phantoms.LABELS[0], 0), "sha256:0")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as `save_pretrained` leaves it, with a card, and with what must not be copied."""
    folder = tiny.write_llava(tmp_path_factory.mktemp("given"))
    (folder / "card.toml").write_text(CARD)
    (folder / "modeling.py").write_text("raise SystemExit('code of the checkpoint was run')\n")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    return folder


@pytest.fixture
def table(given: Path, home: Path) -> Panel:
    card = writer.add(given, home)
    panel = Panel(patch_statistics.load(), {}, "echo")
    panel.seat(card.name, registry.get("specialists", card.name).load(encoder=panel.encoder))
    return panel


def studies(modality: str | None = "MR", *images: Image) -> tuple[Study, ...]:
    return (Study(modality, None, images or (PICTURE,)),)


def asked(panel: Panel, options: tuple[str, ...] = (), policy: str = "gsco") -> Consultation:
    return consult(case_of(studies(), "Describe the picture.", options), panel, policy)


def prompt_of(held: Consultation) -> str:
    return next(message.text for message in held.exchange if message.role == "user")


def test_its_report_is_that_of_the_checkpoint(given: Path, table: Panel) -> None:
    held = asked(table)
    message = Message("user", (PICTURE, "Question: what does the image show?"))
    expected = hf.load(given).generate((message,), 12)
    (opinion,) = held.opinions
    assert opinion.draft == expected.text.strip() and opinion.draft
    assert not opinion.findings and opinion.specialist == "scribe"
    assert ("stopped after 12 tokens" in opinion.caution) == (expected.tokens >= 12)
    assert "measured by nobody" in opinion.caution


@pytest.mark.parametrize("policy", ["gsco", "moed"])
def test_the_generalist_reads_it_where_the_question_is_open(table: Panel, policy: str) -> None:
    held = asked(table, policy=policy)
    assert f"Report drafted by specialist scribe: {shortened(held.opinions[0].draft)}" in prompt_of(held)


def test_the_published_prompt_has_it_too(table: Panel) -> None:
    held = consult(case_of(studies(), "Describe the picture."), table, "gsco", profile="published")
    assert f"The reports of the specialist models are: {shortened(held.opinions[0].draft)}" in prompt_of(held)


def test_a_closed_question_does_not_wait_for_it(table: Panel) -> None:
    held = asked(table, ("glioma", "no tumour"))
    assert "scribe" not in [opinion.specialist for opinion in held.opinions]
    assert not any("drafted" in message.text for message in held.exchange)


def test_whoever_calls_it_is_shown_what_it_wrote() -> None:
    drafted = Opinion("scribe", "1", draft="Lungs\nare clear.")
    for options in ((), ("yes", "no")):
        turn = returns.turn(Case("c", "What?", options, studies()), [drafted], [], False)
        assert turn.text.splitlines()[0] == "Report drafted by specialist scribe: Lungs are clear."
        assert turn.text.count("clear") == 1


def test_it_stands_on_the_page_in_the_terminal_and_in_the_record(table: Panel) -> None:
    held = asked(table)
    hostile = "Normal <script>alert(1)</script>\x1b[2J."
    held = replace(held, opinions=(Opinion("scribe", "1", draft=hostile),))
    html = page.to_html(held)
    assert "Its draft of a report:" in html and "&lt;script&gt;" in html and "\x1b" not in html
    stream = io.StringIO()
    show(held, Console(file=stream, width=100))
    assert "wrote: Normal <script>" in stream.getvalue() and "\x1b" not in stream.getvalue()
    assert record.from_json(record.to_json(held)) == held


def test_it_abstains_where_its_card_forbids_or_nothing_is_written(
    table: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = table.specialist("scribe")
    assert isinstance(member, writer.Writer)
    assert "it is for MR" in (member.examine(Case("c", "?", (), studies("CT"))).abstained or "")
    monkeypatch.setattr(hf.HuggingFace, "generate", lambda *_: hf.Completion("  \n", 1))
    assert member.examine(Case("c", "?", (), studies())).abstained == "it wrote nothing"


def test_neither_code_nor_pickles_are_copied(given: Path, table: Panel, home: Path) -> None:
    folder = home / "specialists" / "scribe"
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors", ".jinja", ".txt"}
    card = registry.read_card(folder / "card.json")
    assert card.drafts and not card.concepts and card.version.startswith("sha256:")


def test_another_checkpoint_under_its_card_is_noticed(table: Panel, home: Path) -> None:
    (home / "specialists" / "scribe" / "config.json").write_text("{}")
    with pytest.raises(MemberError, match="not the file that the card was written for"):
        registry.get("specialists", "scribe").load(encoder=table.encoder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('modality = ["MR"]', "", "does not say modality"),
        ("max_tokens = 12", "max_tokens = 0", "1 to 4096"),
        ("max_tokens = 12", "temperature = 1", "stand `prompt`"),
        ("[writer]", "[input]", "input, which nothing reads"),
    ],
)
def test_a_card_that_cannot_hold_is_refused(given: Path, tmp_path: Path, old: str, new: str, said: str) -> None:
    (tmp_path / "card.toml").write_text(CARD.replace(old, new))
    with pytest.raises(UsageError, match=said):
        writer.add(tmp_path, tmp_path / "home")


def test_what_is_no_checkpoint_leaves_nothing(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "given"
    folder.mkdir()
    (folder / "card.toml").write_text(CARD)
    with pytest.raises(UsageError, match=r"holds no \.safetensors"):
        writer.add(folder, home)
    tiny.write_llama(folder)
    with pytest.raises(MemberError, match="without an image processor"):
        writer.add(folder, home)
    assert not list((home / "specialists").iterdir())


def test_cards_that_others_wrote_still_open(tmp_path: Path, table: Panel, home: Path) -> None:
    card = json.loads((home / "specialists" / "scribe" / "card.json").read_text())
    del card["drafts"]
    (tmp_path / "card.json").write_text(json.dumps(card))
    assert registry.read_card(tmp_path / "card.json").drafts is False
