"""`consilium evaluate`: any dataset, policy and generalist; records, figures, comparisons, a leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consilium.cli.common import FOLDER, counted, counting, emit, modality_named, pairs, read_dataset, split, writing

if TYPE_CHECKING:
    from consilium.evaluate.council import Council
    from consilium.evaluate.plan import Task
    from consilium.evaluate.run import Evaluation, Outcome

app = typer.Typer(
    help="Measure policies on a dataset: run keeps every answer, score and compare read the answers, board makes a page of them, "
    "arbitration misleads the generalist on purpose.\n\n"
    "Example: consilium evaluate run ../shared/data/lung_ct_iqoth --policies solo,moed --modality CT --out runs/lung",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Argument(help=FOLDER)]
Places = Annotated[
    list[Path], typer.Argument(metavar="RECORDS...", help="Folders of `evaluate run`, or files in them.")
]
Policies = Annotated[str, typer.Option(help="Which policies, separated by commas.")]
Generalist = Annotated[str, typer.Option(help="Who decides; see `consilium members generalists`.")]
Model = Annotated[str | None, typer.Option(help="Folder or model id for the generalists hf and openai.")]
BaseUrl = Annotated[str | None, typer.Option(help="Endpoint for the generalist openai.")]
AllowRemote = Annotated[bool, typer.Option(help="Let the cases leave this machine for a remote endpoint.")]
Profile = Annotated[str, typer.Option(help="measured (ours) or published (GSCo's labels only).")]
Specialists = Annotated[str | None, typer.Option(help='Only these, separated by commas; "" for nobody.')]
Index = Annotated[str, typer.Option(help="Precedents to search: shipped, an index's name, or none.")]
Arbiter = Annotated[Path | None, typer.Option(help="JSON with the weights of arbitrated; by default the shipped ones.")]
Cases = Annotated[int | None, typer.Option(help="So many pictures, spread evenly, for a quick run; all by default.")]
Question = Annotated[
    str | None, typer.Option(help="What is asked; {label} in it asks labels one by one, else all at once.")
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option", help="LABEL=TEXT: what the option for a label is called. Several labels may share a text."
    ),
]
Labels = Annotated[str | None, typer.Option(help="Columns of 0, 1 or blank, instead of `label`.")]
Asked = Annotated[str | None, typer.Option(help="With several labels a picture: ask about these alone.")]
Where = Annotated[list[str] | None, typer.Option(help="Keep only rows with COLUMN=VALUE. May be repeated.")]
Modality = Annotated[str | None, typer.Option(help="CR, CT, MR, US ...; else the header's, else the router's.")]
BodyPart = Annotated[str | None, typer.Option(help="CHEST, HEAD, BREAST ...; else the header's, else the router's.")]
Normal = Annotated[str | None, typer.Option(help="The label that means no disease.")]
Jobs = Annotated[
    int, typer.Option(help="So many processes, each with a council of its own and its share of the cores.")
]
Out = Annotated[Path | None, typer.Option(help="Where records are kept; by default CONSILIUM_HOME/evaluations/...")]
Skip = Annotated[bool, typer.Option(help="Count pictures that cannot be read instead of stopping at the first.")]
Seed = Annotated[str, typer.Option(help="A name for this run of several that differ in a seed; score averages them.")]
Resamples = Annotated[int, typer.Option(help="Draws of the bootstrap behind each interval.", min=1)]
Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.command("run")
def run_(
    folder: Folder,
    policies: Policies = "solo,panel_vote,moed,gsco",
    generalist: Generalist = "native",
    model: Model = None,
    base_url: BaseUrl = None,
    allow_remote: AllowRemote = False,
    profile: Profile = "measured",
    specialists: Specialists = None,
    index: Index = "shipped",
    arbiter: Arbiter = None,
    split_: Annotated[str, typer.Option("--split", help="train, val or test.")] = "test",
    cases: Cases = None,
    question: Question = None,
    option: Options = None,
    labels: Labels = None,
    labels_asked: Asked = None,
    where: Where = None,
    modality: Modality = None,
    body_part: BodyPart = None,
    normal: Normal = None,
    jobs: Jobs = 1,
    out: Out = None,
    skip_unreadable: Skip = False,
    seed_name: Seed = "",
    resamples: Resamples = 1000,
    json: Json = False,
) -> None:
    """Put every picture of a split to the council under each policy, keep every answer, and print the figures.

    Killed at any moment, the same command goes on where it stood. Records of another model, wording or dataset are set
    aside, never mixed. Precedents are never the picture itself, its patient or a near-duplicate.

    Example: consilium evaluate run ../shared/data/cxr_pneumonia_kermany --policies solo,gsco --modality CR --body-part CHEST
    --question "Does this chest X-ray show pneumonia?" --option bacterial_pneumonia=pneumonia --option viral_pneumonia=pneumonia
    """
    from consilium.evaluate.plain import STUDY
    from consilium.evaluate.run import Evaluation

    council = _council((generalist, model, base_url, allow_remote), profile, specialists, (index, arbiter))
    wishes = (question, option, labels_asked, modality, body_part, split_, cases, normal)
    task = _task(folder, labels, where, wishes)
    kept = out or _default_folder(task, council)
    evaluation = Evaluation(task, council, split(policies), kept, STUDY, skip_unreadable, seed_name)
    outcome = _run(evaluation, jobs, json)
    files = [path for policy in evaluation.policies if (path := evaluation.path(policy)).is_file()]
    _print_scores(files, resamples, json, {"folder": str(kept), **_told(outcome)} if json else None)
    if not json:
        typer.echo(f"records: {kept}")


@app.command("score")
def score_(records: Places, resamples: Resamples = 1000, json: Json = False) -> None:
    """Print every figure of kept records, with intervals over patients. No model is loaded.

    Runs that differ in --seed-name alone are averaged.

    Example: consilium evaluate score runs/lung
    """
    _print_scores(records, resamples, json)


@app.command("compare")
def compare_(
    records: Places,
    against: Annotated[str | None, typer.Option(help="Compare each with this one alone, not every two.")] = None,
    intersect: Annotated[bool, typer.Option(help="Where the cases differ, compare on those that both have.")] = False,
    json: Json = False,
) -> None:
    """Compare policies on the same cases: differences, intervals, permutation tests corrected for their number (Holm), and how
    conflicts between the specialists and the generalist are settled.

    Example: consilium evaluate compare runs/lung/gsco.jsonl runs/lung/panel_vote.jsonl runs/lung/solo.jsonl
    """
    from consilium.evaluate.answers import systems
    from consilium.evaluate.compare import compare_all
    from consilium.evaluate.matrix import matrices

    found = systems(records)
    tests = compare_all(found, intersect=intersect, against=against)
    made = matrices(found)
    if json:
        emit({"tests": [test.json() for test in tests], "arbitration": [matrix.json() for matrix in made]})
        return
    from consilium.cli.evaluate_tables import show_matrices, show_tests

    show_tests(tests)
    show_matrices(made)


@app.command("board")
def board_(
    records: Places,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("leaderboard.html"),
    resamples: Resamples = 1000,
) -> None:
    """Make one page of kept records: tables, reliability, risk against coverage, arbitration. It needs no network and no script.

    Example: consilium evaluate board runs/lung runs/brain --out leaderboard.html
    """
    from consilium.errors import extra
    from consilium.evaluate.board import make
    from consilium.evaluate.draw import can_draw

    page = make(records, resamples)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")
    left_out = "" if can_draw() else f" (without diagrams: {extra('train')} for them)"
    typer.echo(f"{out}{left_out}")


@app.command("arbitration")
def arbitration_(
    folder: Folder,
    policy: Annotated[str | None, typer.Option(help="Which policies; by default moed, gsco and arbitrated.")] = None,
    generalist: Generalist = "native",
    model: Model = None,
    base_url: BaseUrl = None,
    allow_remote: AllowRemote = False,
    profile: Profile = "measured",
    specialists: Specialists = None,
    index: Index = "shipped",
    arbiter: Arbiter = None,
    split_: Annotated[str, typer.Option("--split", help="train, val or test.")] = "test",
    cases: Cases = None,
    question: Question = None,
    option: Options = None,
    labels: Labels = None,
    labels_asked: Asked = None,
    where: Where = None,
    modality: Modality = None,
    body_part: BodyPart = None,
    normal: Normal = None,
    jobs: Jobs = 1,
    out: Out = None,
    skip_unreadable: Skip = False,
    json: Json = False,
) -> None:
    """Mislead the generalist on purpose: opinions as they are, k of the specialists wrong, all right, random, absent, and
    precedents that all bear a wrong label. Tells what it keeps, corrects and still finds.

    Example: consilium evaluate arbitration ../shared/data/lung_ct_iqoth --modality CT --normal normal --cases 20
    """
    from consilium.consult import policies
    from consilium.evaluate.arbitration import STUDY
    from consilium.evaluate.arbitration_report import reports
    from consilium.evaluate.run import Evaluation

    chosen = split(policy) or tuple(name for name in ("moed", "gsco", "arbitrated") if name in policies.names())
    council = _council((generalist, model, base_url, allow_remote), profile, specialists, (index, arbiter))
    wishes = (question, option, labels_asked, modality, body_part, split_, cases, normal)
    task = _task(folder, labels, where, wishes)
    kept = out or _default_folder(task, council, "-arbitration")
    evaluation = Evaluation(task, council, chosen, kept, STUDY, skip_unreadable)
    outcome = _run(evaluation, jobs, json)
    found = reports([evaluation.path(name) for name in chosen])
    if json:
        emit({"folder": str(kept), **_told(outcome), "reports": [report.json() for report in found]})
        return
    from consilium.cli.evaluate_tables import show_reports

    show_reports(found)
    typer.echo(f"records: {kept}")


def _council(
    who: tuple[str, str | None, str | None, bool], profile: str, specialists: str | None, kept: tuple[str, Path | None]
) -> Council:
    from consilium.consult import arbiter, prompt
    from consilium.errors import UsageError
    from consilium.evaluate.council import Council

    name, model, base_url, allow_remote = who
    chosen = next((p for p in prompt.PROFILES if p == profile), None)
    if chosen is None:
        raise UsageError(f"no prompt profile is called {profile!r}; there are: {', '.join(prompt.PROFILES)}.")
    if name not in {"hf", "openai"} and (model or base_url):
        raise UsageError(f"--model and --base-url are for the generalists hf and openai, not for {name}.")
    remote: dict[str, Any] = {"model": model, "base_url": base_url, "allow_remote": allow_remote}
    loaded_with = remote if name == "openai" else {"model": model} if name == "hf" else {}
    seated = None if specialists is None else split(specialists)
    known, weights = None if kept[0] == "none" else kept[0], kept[1] or arbiter.SHIPPED
    return Council(seated, name, known, generalist_options=loaded_with, profile=chosen, arbiter=weights)


def _task(folder: Path, labels: str | None, where: list[str] | None, wishes: tuple[Any, ...]) -> Task:
    from consilium.evaluate.plan import Wishes, plan

    question, option, asked, modality, body_part, part, cases, normal = wishes
    data = read_dataset(folder, labels, where)
    seen = modality_named(modality)
    return plan(data, Wishes(question, pairs(option, "--option"), split(asked), seen, body_part, part, cases, normal))


def _default_folder(task: Task, council: Council, what: str = "") -> Path:
    from consilium.settings import settings

    return settings().home / "evaluations" / f"{task.data.name}-{task.split}-{council.generalist}{what}"


def _run(evaluation: Evaluation, jobs: int, quiet: bool) -> Outcome:
    from consilium.evaluate.run import run

    with counting(f"asking about {evaluation.task.data.name}", quiet=quiet) as progress:
        outcome = run(evaluation, jobs, progress)
    if not quiet:
        for policy, count in outcome.answered.items():
            typer.echo(f"{policy}: {counted(count, 'answer')} on record, {outcome.new[policy]} of them new", err=True)
        if outcome.unlabelled:
            left_out = counted(outcome.unlabelled, "picture")
            typer.echo(f"left out, without a label that is asked about: {left_out} of the split", err=True)
        if outcome.skipped:
            skipped = counted(outcome.skipped, "picture")
            typer.echo(f"skipped, since unreadable: {skipped}; the records say why", err=True)
    return outcome


def _told(outcome: Outcome) -> dict[str, Any]:
    facts = {"answered": outcome.answered, "new": outcome.new}
    return facts | {"skipped": outcome.skipped, "unlabelled": outcome.unlabelled}


def _print_scores(places: list[Path], resamples: int, json: bool, more: dict[str, Any] | None = None) -> None:
    from consilium.evaluate.answers import systems
    from consilium.evaluate.score import score

    found = [score(system, resamples) for system in systems(places)]
    if json:
        emit({**(more or {}), "scores": [scored.json() for scored in found]})
        return
    from consilium.cli.evaluate_tables import show_scores

    show_scores(found)
