"""`consilium explain`: one consultation, with what the generalist looked at drawn over each picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consilium.cli.common import emit, modality_named, split, writing

if TYPE_CHECKING:
    from consilium.consult.panel import Panel
    from consilium.types import Consultation, Finding, Image


def explain(
    path: Annotated[Path, typer.Argument(help="A file, folder or ZIP.")],
    question: Annotated[str, typer.Argument(help="What is asked, in quotes.")],
    options: Annotated[str | None, typer.Option(help="The possible answers, separated by commas.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the pictures, consultation.html and consultation.json.")] = Path(
        "."
    ),
    policy: Annotated[str, typer.Option(help="solo, moed, rad, gsco, arbitrated or triggered.")] = "gsco",
    generalist: Annotated[str, typer.Option(help="Who decides; one that can show where it looked.")] = "native",
    folder: Annotated[Path | None, typer.Option(help="A checkpoint of your own for that generalist.")] = None,
    modality: Annotated[str | None, typer.Option(help="CR, DX, CT, MR, US ...; overrides the file's header.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the answer and the grids as JSON.")] = False,
) -> None:
    """Ask as `ask` does, and draw over each picture how much each place raised the probability of the answer.

    Example: consilium explain examples/chest_xray.jpg "Is there pneumonia?" --options normal,pneumonia --out seen
    """
    from consilium import formats
    from consilium.consult import policies
    from consilium.consult.council import case_of, consult
    from consilium.consult.panel import assemble

    policies.get(policy)
    case = case_of(formats.read(path, modality=modality_named(modality)), question, split(options))
    panel = assemble(generalist=generalist, generalist_options={"folder": folder} if folder else {})
    _demand_explain(panel)
    panel.explains = True
    held = consult(case, panel, policy)
    drawn = _write(held, out)
    if json:
        emit({"answer": held.answer.choice or held.answer.text, "pictures": [_fact(*pair) for pair in drawn]})
        return
    typer.echo(f"answer  {held.answer.choice or held.answer.text or held.answer.abstained}")
    for finding, file in drawn:
        typer.echo(f"seen    {_strongest(finding)}: {file}")
    for note in held.notes if not drawn else ():
        typer.echo(f"note    {note}")
    typer.echo(f"written {out / 'consultation.html'} and consultation.json")


def _demand_explain(panel: Panel) -> None:
    from consilium.errors import UsageError

    if not hasattr(panel.generalist, "explain"):
        raise UsageError(
            f"generalist {panel.generalist_name} cannot show where it looked. Take one that can: --generalist native."
        )


def _write(held: Consultation, out: Path) -> list[tuple[Finding, Path]]:
    """The page, the record, and a PNG for each place that the answer was seen at; gives each with its file."""
    from consilium.consult.prompt import images_of
    from consilium.formats import page, record
    from consilium.imaging.picture import overlay, png_bytes, views
    from consilium.imaging.window import to_display

    seen = (*(view for study in held.case.studies for view in views(study)), *images_of(held.exchange))
    shown: dict[str, Image] = {view.uid: view for view in seen}
    drawn: list[tuple[Finding, Path]] = []
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for finding in held.answer.findings:
            if finding.region is not None and finding.region.image_uid in shown:
                file = out / f"seen_{len(drawn) + 1}.png"
                file.write_bytes(png_bytes(overlay(to_display(shown[finding.region.image_uid]), finding.region)))
                drawn.append((finding, file))
        record.write(held, out / "consultation.json")
        (out / "consultation.html").write_text(page.to_html(held), encoding="utf-8")
    return drawn


def _fact(finding: Finding, file: Path) -> dict[str, Any]:
    region = finding.region
    grid = [] if region is None else [[round(float(value), 4) for value in row] for row in region.grid]
    return {"file": file, "image": region.image_uid if region else "", "relevance": grid}


def _strongest(finding: Finding) -> str:
    grid = finding.region.grid if finding.region else None
    if grid is None or not grid.any():
        return "nothing in this picture spoke for it"
    row, column = divmod(int(grid.argmax()), grid.shape[1])
    rows, columns = grid.shape
    return (
        f"most at {100 * (column + 0.5) / columns:.0f} % from the left, {100 * (row + 0.5) / rows:.0f} % from the top"
    )
