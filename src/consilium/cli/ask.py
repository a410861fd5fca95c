"""`consilium ask`: one consultation a path, printed, and written as HTML and JSON."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consilium.cli import ask_genome
from consilium.cli.ask_genome import Age, Asked, Build, GenomeFile, Person, Sex
from consilium.cli.common import modality_named, split, writing
from consilium.cli.results import demand_own, kinds_of, results

if TYPE_CHECKING:
    from consilium.types import Consultation, Study


_NO_MAP = "the generalist answered in 8 bits, so that where it looked is not drawn"


def ask(
    paths_and_question: Annotated[
        list[str],
        typer.Argument(
            metavar="[PATH...] QUESTION",
            help="Files, folders or ZIPs (each one a case), then the question. With --genome the question alone will do.",
        ),
    ],
    options: Annotated[str | None, typer.Option(help="The possible answers, separated by commas.")] = None,
    multiple: Annotated[
        bool, typer.Option("--multiple", help="Any number of the options may hold, none included.")
    ] = False,
    policy: Annotated[str, typer.Option(help="solo, panel_vote, moed, rad, gsco, arbitrated or triggered.")] = "gsco",
    generalist: Annotated[str, typer.Option(help="Who decides; see `consilium members generalists`.")] = "native",
    model: Annotated[str | None, typer.Option(help="Folder or model id for the generalists hf and openai.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Endpoint for the generalist openai.")] = None,
    allow_remote: Annotated[bool, typer.Option(help="Let the case leave this machine for a remote endpoint.")] = False,
    slices: Annotated[
        int | None, typer.Option(help="Slices of a volume that hf or openai is shown, 1 to 85; by default 3.")
    ] = None,
    windows: Annotated[
        bool,
        typer.Option("--windows", help="Show hf or openai a CT in three windows as red, green, blue (MedGemma 1.5)."),
    ] = False,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="native in 8 bits: a quarter of its language model's memory, slightly other numbers."
        ),
    ] = False,
    profile: Annotated[str, typer.Option(help="measured (ours) or published (GSCo's labels only).")] = "measured",
    specialists: Annotated[str | None, typer.Option(help="Only these specialists, separated by commas.")] = None,
    index: Annotated[str, typer.Option(help="Precedents to search: shipped, an index's name, or none.")] = "shipped",
    modality: Annotated[str | None, typer.Option(help="CR, DX, CT, MR, US ...; overrides the file's header.")] = None,
    body_part: Annotated[str | None, typer.Option(help="CHEST, HEAD, BREAST ...; overrides the file's header.")] = None,
    history: Annotated[str, typer.Option(help="What is known of the patient, for the generalist.")] = "",
    genome: GenomeFile = None,
    person: Person = None,
    build: Build = None,
    age: Age = None,
    sex: Sex = None,
    out: Annotated[Path | None, typer.Option(help="Folder for consultation.html and consultation.json.")] = None,
    formats: Annotated[
        str,
        typer.Option(
            help="With --out: seg, sr (DICOM), fhir, masks, overlays, separated by commas; auto: those that fit; none."
        ),
    ] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print the consultation as JSON and nothing else.")] = False,
) -> None:
    """Hold a consultation: specialists and known cases are consulted, the generalist answers, the evidence is shown.

    Example: consilium ask examples/chest_xray.jpg "Does this chest X-ray show pneumonia?" --options normal,pneumonia --out .
    """
    from consilium.consult import policies, prompt
    from consilium.consult.council import case_of, consult_many
    from consilium.consult.panel import assemble
    from consilium.errors import UsageError
    from consilium.formats import record

    *paths, question = paths_and_question
    if not (paths or genome) or not question.strip() or os.path.exists(question):
        raise UsageError('give the pictures, then the question: consilium ask FILE "question". Quote the question.')
    policy = policy.strip()
    policies.get(policy)
    asked = Asked(genome, person, build)
    asked.check(paths, kinds_of(formats))
    if formats != "auto" and out is None:
        raise UsageError("--formats says what is written beside the page: give --out FOLDER too.")
    history = ask_genome.with_demographics(history, age, sex)
    chosen = next((p for p in prompt.PROFILES if p == profile), None)
    if chosen is None:
        raise UsageError(f"no prompt profile is called {profile!r}; there are: {', '.join(prompt.PROFILES)}.")
    if generalist not in {"hf", "openai"} and (model or base_url or slices is not None or windows):
        raise UsageError(
            f"--model, --base-url, --slices and --windows are for the generalists hf and openai, not for {generalist}."
        )
    if int8 and generalist != "native":
        raise UsageError(f"--int8 is for the generalist native, not for {generalist}.")
    if specialists is not None and not split(specialists):
        raise UsageError("--specialists names nobody. Name some, or leave it out; --policy solo asks none.")
    start = time.perf_counter()
    read = list(_read(paths, modality_named(modality), body_part)) or [()]
    read_s = (time.perf_counter() - start) / len(read)
    panel = assemble(
        specialists=split(specialists) if specialists is not None else None,
        generalist=generalist,
        index=None if index == "none" else index,
        generalist_options=_generalist_options(generalist, model, base_url, allow_remote)
        | ({} if slices is None else {"slices": slices})
        | ({"windows": True} if windows else {})
        | ({"quantise": "int8"} if int8 else {}),
    )
    # The page shows where the generalist looked, at the cost of a pass backwards, for which matrices in 8 bits do not do.
    panel.explains = out is not None and not int8
    start = time.perf_counter()
    genotypes = asked.read(panel)
    read_s += time.perf_counter() - start
    cases = [case_of(studies, question, split(options), history, multiple, genotypes) for studies in read]
    sources: Sequence[str | None] = paths or [None]
    with _listed(json and len(cases) > 1) as before:
        for number, (path, held) in enumerate(zip(sources, consult_many(cases, panel, policy, chosen), strict=True), 1):
            notes = (*held.notes, *ask_genome.told(genotypes), *((_NO_MAP,) if int8 and out is not None else ()))
            held = replace(held, timings_s={"reading": read_s, **held.timings_s}, notes=notes)
            folder = _folder(out, number, len(cases))
            written: tuple[Path, ...] = ()
            if folder is not None:
                demand_own(held, folder)
                _write(held, folder)
                written = results(held, Path(path) if path else None, folder, formats)
            if json:
                typer.echo(before() + record.to_json(held))
            else:
                _print(held, folder, written, f"case {number} of {len(cases)}" if len(cases) > 1 else "")


@contextmanager
def _listed(several: bool) -> Iterator[Callable[[], str]]:
    """What stands before each record so that several are one JSON list, which is closed whatever ends it."""
    told = 0

    def before() -> str:
        nonlocal told
        told += 1
        return "" if not several else "[" if told == 1 else ","

    try:
        yield before
    finally:
        if several:
            typer.echo("]" if told else "[]")


def _read(paths: list[str], modality: str | None, body_part: str | None) -> Iterator[tuple[Study, ...]]:
    from consilium import formats
    from consilium.errors import ConsiliumError

    for number, path in enumerate(paths, 1):
        try:
            yield formats.read(path, modality=modality, body_part=body_part)
        except ConsiliumError as error:
            if len(paths) == 1:
                raise
            quote = ' Is it part of the question? Then quote the question: consilium ask FILE "question".'
            hint = quote if number > 1 and not os.path.exists(path) else ""
            raise type(error)(f"path {number} of {len(paths)}: {error}{hint}") from error


def _generalist_options(name: str, model: str | None, base_url: str | None, allow_remote: bool) -> dict[str, object]:
    if name == "openai":
        return {"model": model, "base_url": base_url, "allow_remote": allow_remote}
    return {"model": model} if name == "hf" else {}


def _folder(out: Path | None, number: int, total: int) -> Path | None:
    return out if out is None or total == 1 else out / f"{number:04d}"


def _write(held: Consultation, folder: Path) -> None:
    from consilium.formats import page, record

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        record.write(held, folder / "consultation.json")
        (folder / "consultation.html").write_text(page.to_html(held), encoding="utf-8")


def _print(held: Consultation, folder: Path | None, written: Sequence[Path], which: str) -> None:
    from rich.console import Console

    from consilium.cli.results import NAMES_THE_PATIENT
    from consilium.cli.show import show

    console = Console()
    if which:
        console.print(f"\n{which}", style="dim", highlight=False)
    show(held, console)
    if folder is None:
        return
    more = f", {', '.join(path.name for path in written)}" if written else ""
    console.print(f"Written: {folder / 'consultation.html'} and consultation.json{more}", highlight=False)
    named = [path.name for path in written if path.suffix == NAMES_THE_PATIENT]
    if named:
        console.print(
            f"With the patient of the source, as DICOM demands: {', '.join(named)}", style="yellow", highlight=False
        )
