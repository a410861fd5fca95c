"""The terminal shows the consultation within 100 columns, plainly where nothing interprets colours."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console
from tests.consultations import empty, full, outlined

from consilium.cli.show import show
from consilium.types import Answer, Case, Code, Consultation, Finding, Opinion


def _shown(consultation: Consultation, width: int = 100, terminal: bool = False, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    show(
        consultation,
        Console(file=file, width=width, force_terminal=terminal, color_system="standard" if terminal else None),
    )
    file.flush()
    return raw.getvalue().decode(encoding)


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_summary_says_who_said_what() -> None:
    lines = _lines(_shown(full()))
    expected = [
        "Is there pneumonia?",
        "pneumonia",
        "Its words: Most likely pneumonia.",
        "pneumonia ███████████████████████████ 89 %",
        "normal ███ 11 %",
        "not calibrated: a ranking, not a chance",
        "lungs pneumonia 97 % 0.96 [0.94, 0.97] 624",
        "normal <1 %",
        "heart cardiomegaly 31 % not measured",
        "heart width 12.35 cm",
        "(not calibrated)",
        "brain abstained: sees MR only; this is DX",
        "0.93 viral pneumonia known-1 A, CC0-1.0",
        "- 16-bit colour reduced to 8 bits",
        "- generalist echo sees no images",
        "encoder 0.61 s, total 2.50 s",
        "Not a medical device.",
    ]
    assert [line for line in expected if line not in lines] == []
    assert "caution: the picture is unlike most" in " ".join(lines)


@pytest.mark.parametrize("width", [40, 80, 100, 240])
def test_no_line_is_wider_than_the_console_or_100_columns(width: int) -> None:
    wide = replace(full(), case=Case("case-0", "why " * 60), notes=("x" * 300,), versions={})
    wide = replace(wide, answer=replace(wide.answer, probabilities={"an option " * 20: 0.5, "b": 0.5}))
    assert max(cell_len(line) for line in _shown(wide, width).splitlines()) <= min(width, 100)


def test_there_is_colour_in_a_terminal_and_none_elsewhere() -> None:
    assert "\x1b[" in _shown(full(), terminal=True)
    assert "\x1b" not in _shown(full())


def test_a_narrow_alphabet_suffices() -> None:
    assert "########" in _shown(full(), encoding="ascii")


def test_words_cannot_command_the_terminal_or_be_markup() -> None:
    hostile = "[red]a[/red] \x1b[2J\x1b]0;title\x07 \x9b31m [/]"
    said = Opinion(hostile, "1", (Finding(Code.local(hostile), 0.5),))
    consultation = replace(
        full(),
        case=Case("case-0", hostile),
        opinions=(said, Opinion("b", "1", abstained=hostile)),
        answer=Answer(hostile, None, {hostile: 0.5}, sections={hostile: hostile}),
        notes=(hostile,),
        timings_s={hostile: 1.0},
    )
    text = _shown(consultation, width=100)
    assert not {"\x1b", "\x07", "\x9b"} & set(text)
    assert text.count("[red]a[/red]") >= 8


def test_an_abstention_is_the_answer() -> None:
    lines = _lines(_shown(replace(empty(), answer=Answer("Hard to say.", abstained="its words state no option"))))
    assert lines[2:4] == ["Abstained: its words state no option", "Its words: Hard to say."]


def test_an_empty_consultation_is_short() -> None:
    assert [line for line in _lines(_shown(empty())) if line] == ["Nothing was answered.", "Not a medical device."]


def test_a_calibrated_answer_says_so_and_marks_what_is_unknown() -> None:
    answer = Answer("a", "a", {"a": float("nan"), "b": 0.25}, calibrated=True)
    lines = _lines(_shown(replace(empty(), answer=answer)))
    assert "a -" in lines and "calibrated" in lines


def test_what_was_outlined_is_said_structure_by_structure() -> None:
    said = outlined()
    words = " ".join(_lines(_shown(replace(full(), opinions=(said,)))))
    for expected in (
        "cyst: 0.36 mL, longest diameter",
        "slices 4 to 6; confidence 0.81",
        "tumour: looked for, not found",
        "cyst seen 70 %",
    ):
        assert expected in words
    many = replace(said, findings=said.findings[:1] * 9 + said.findings[-1:])
    assert "and 2 more outlined; all stand on the page" in " ".join(_lines(_shown(replace(full(), opinions=(many,)))))


def test_a_section_that_repeats_the_answer_is_not_printed_twice() -> None:
    answer = Answer("A cyst.", sections={"findings": "cyst: 0.36 mL", "impression": "A cyst."})
    text = _shown(replace(empty(), answer=answer))
    assert text.count("A cyst.") == 1 and "Findings: cyst: 0.36 mL" in text
