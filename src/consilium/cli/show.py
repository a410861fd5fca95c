"""A Consultation in the terminal: at most 100 columns, and plain text where there is no terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from consilium.formats import wording
from consilium.imaging.structures import sentence, structures
from consilium.types import Answer, Consultation, Opinion, Precedent, Score

WIDTH = 100
_BAR = 30
_TOP_FINDINGS = 3
_TOP_STRUCTURES = 8


def show(consultation: Consultation, console: Console) -> None:
    """Prints the question, the answer, what every specialist and known case said, the notes and the timings."""
    width = min(WIDTH, console.width)
    for part in _parts(consultation, console):
        console.print(part, width=width)


def _parts(consultation: Consultation, console: Console) -> Iterator[RenderableType]:
    yield Text()
    yield _text(consultation.case.question, "bold")
    yield from _answer(consultation.answer, "#" if console.options.ascii_only else "█")
    if consultation.opinions:
        yield _heading("Specialists")
        yield _opinions(consultation.opinions)
    if consultation.precedents:
        yield _heading("Similar known cases")
        yield _precedents(consultation.precedents)
    notes = [note for study in consultation.case.studies for note in study.notes] + list(consultation.notes)
    if notes:
        yield _heading("Notes")
        yield from (Padding(_text(f"- {note}", "dim"), (0, 0, 0, 2), expand=False) for note in notes)
    yield Text()
    if consultation.timings_s:
        said = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in consultation.timings_s.items())
        yield _text(said, "dim")
    yield Text(wording.DISCLAIMER, "yellow")


def _text(text: str, style: str = "") -> Text:
    """Words of a model or a file: never read as markup, never able to command the terminal."""
    return Text(wording.printable(text).replace("\N{NO-BREAK SPACE}", " "), style)


def _heading(title: str) -> Text:
    return Text(f"\n{title}", "bold cyan")


def _answer(answer: Answer, block: str) -> Iterator[RenderableType]:
    if answer.abstained is not None:
        yield _text(f"Abstained: {answer.abstained}", "bold yellow")
    else:
        yield _text(answer.choice or answer.text or "Nothing was answered.", "bold green")
    if answer.caution:
        yield _text(f"Caution: {answer.caution}", "bold yellow")
    if answer.text and (answer.abstained is not None or answer.choice not in {None, answer.text}):
        yield _text(f"Its words: {answer.text}")
    told = {name: words for name, words in answer.sections.items() if words not in {answer.text, answer.choice}}
    for name, words in told.items():
        yield Text.assemble(_text(f"{name.capitalize()}: ", "bold"), _text(words))
    if answer.probabilities:
        yield Padding(_bars(answer, block), (0, 0, 0, 2), expand=False)
        yield Text("  calibrated" if answer.calibrated else "  not calibrated: a ranking, not a chance", "dim")


def _bars(answer: Answer, block: str) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(max_width=WIDTH // 2)
    table.add_column(width=_BAR)
    table.add_column(justify="right")
    for option, probability in sorted(answer.probabilities.items(), key=lambda pair: -pair[1]):
        style = "bold" if option == answer.choice or option in answer.choices else ""
        full = round(_BAR * probability) if 0 <= probability <= 1 else 0
        table.add_row(_text(option, style), Text(block * full, "green"), _text(wording.percent(probability), style))
    return table


def _opinions(opinions: Sequence[Opinion]) -> Table:
    """Those who spoke first, then those who abstained."""
    table = _table("specialist", "says", "measured AUROC", "n")
    for opinion in sorted(opinions, key=lambda opinion: opinion.abstained is not None):
        if opinion.abstained is not None:
            table.add_row(_text(opinion.specialist, "dim"), _text(f"abstained: {opinion.abstained}", "dim"), "", "")
            continue
        score = _auroc(opinion.reliability)
        reliability = (wording.interval(score), str(score.n)) if score else ("not measured", "")
        table.add_row(_text(opinion.specialist), _text(_said(opinion)), *map(Text, reliability))
    return table


def _said(opinion: Opinion) -> str:
    outlined = [structure for structure in structures(opinion) if structure.outlined]
    concepts = {structure.concept for structure in outlined}
    shown = [f for f in opinion.findings if f.quantity is None or f.concept not in concepts][:_TOP_FINDINGS]
    lines = [f"{finding.concept.meaning} {wording.amount(finding)}" for finding in shown]
    lines += [sentence(structure) for structure in outlined[:_TOP_STRUCTURES]]
    if len(outlined) > _TOP_STRUCTURES:
        lines.append(f"and {len(outlined) - _TOP_STRUCTURES} more outlined; all stand on the page")
    lines += [f"wrote: {opinion.draft}"] if opinion.draft else []
    lines = lines or ["nothing to report"]
    if (doubt := wording.calibration(opinion)) not in {"", "calibrated"}:
        lines.append(f"({doubt})")
    if opinion.caution:
        lines.append(f"caution: {opinion.caution}")
    return "\n".join(lines)


def _auroc(scores: Sequence[Score]) -> Score | None:
    return next((score for score in scores if score.metric == "AUROC"), None)


def _precedents(precedents: Sequence[Precedent]) -> Table:
    table = _table("similarity", "diagnosis", "case", "source")
    for precedent in precedents:
        source = ", ".join(filter(None, (precedent.source, precedent.licence)))
        words = (f"{precedent.similarity:.2f}", precedent.label, precedent.case_id, source)
        table.add_row(*map(_text, words))
    return table


def _table(*headers: str) -> Table:
    table = Table(box=None, padding=(0, 0, 0, 2), header_style="dim")
    for header in headers:
        table.add_column(header, overflow="fold")
    return table
