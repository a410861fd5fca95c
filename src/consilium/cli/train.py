"""`consilium train`: the native generalist, stage by stage, from a recipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consilium.cli.common import counting, emit

if TYPE_CHECKING:
    from consilium.train.plan import Recipe
    from consilium.train.stages import Places, Told


def train(
    stage: Annotated[
        str,
        typer.Argument(
            help="data (make the shards), a stage of the recipe (warmstart, alignment, instruction, guided ...), all (data "
            "and every stage of the chain), or checkpoint (write the last stage as an ordinary model folder)."
        ),
    ],
    config: Annotated[Path, typer.Option(help="The recipe, such as configs/train/native.toml.")],
    data: Annotated[Path, typer.Option(help="The folder of the data sets.")] = Path("../shared/data"),
    out: Annotated[
        Path | None, typer.Option(help="Where shards and runs are kept; by default CONSILIUM_HOME/train/NAME.")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the recipe, e.g. stages.guided.epochs=0.5.")
    ] = None,
    of: Annotated[str | None, typer.Option(help="With checkpoint: of which stage; by default the last.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    track: Annotated[
        str, typer.Option(help="Also log to trackio or mlflow, if installed. Nothing leaves this machine.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print the facts of each stage as JSON.")] = False,
) -> None:
    """Train the native generalist (or your own) in stages. Killed at any moment, the same command goes on bit for bit.

    Each stage leaves learnt.safetensors for the next one, adapter.safetensors to ship, facts.json, history.jsonl,
    curves.png and a page samples.html with what it answers on pictures of the val splits. On many GPUs, start the same
    command with accelerate: accelerate launch --multi_gpu -m consilium train instruction --config ... (fsdp = true in a
    stage spreads a language model over them that is too large for one).

    Example: consilium train all --config configs/train/native.toml --data ../shared/data
    """
    from consilium.errors import UsageError
    from consilium.settings import settings
    from consilium.train.plan import read_recipe

    if track not in {"", "trackio", "mlflow"}:
        raise UsageError(f"--track is trackio or mlflow, not {track!r}.")
    _demand_packages(track)
    recipe = read_recipe(config, change or ())
    from consilium.nn.pretrained import pick_device
    from consilium.train.stages import Places

    pick_device(device)
    out = out or settings().home / "train" / recipe.name
    places = Places(out / "shards", data, out)
    if stage == "checkpoint":
        _checkpoint(recipe, of, places)
        return
    from consilium.train.loop import first_alone, part

    with first_alone(device) as first:
        if first and stage in {"data", "all"}:
            _make_data(config.parent / recipe.mixture, places, json)
    if stage != "data":
        for name in [s.name for s in recipe.chain()] if stage == "all" else [stage]:
            _run(recipe, name, places, (device, track, json, first))
    part()


def _demand_packages(track: str) -> None:
    from importlib.util import find_spec

    from consilium.errors import UsageError, extra

    missing = [name for name in ("accelerate", "peft", "matplotlib") if find_spec(name) is None]
    if missing:
        raise UsageError(f"training needs {', '.join(missing)}: {extra('train')}.")
    if track and find_spec(track) is None:
        raise UsageError(f"--track {track} needs a package that is not installed: pip install {track}.")


def _make_data(mixture: Path, places: Places, quiet: bool) -> None:
    from consilium.train.shards import build, table

    with counting("conversations", quiet=quiet) as progress:
        counts = build(mixture, places.data, places.shards, progress)
    emit(counts) if quiet else typer.echo(table(counts))


def _run(recipe: Recipe, name: str, places: Places, how: tuple[str, str, bool, bool]) -> None:
    from consilium.train.stages import run_stage

    device, track, quiet, first = how
    with _told(name, quiet or not first) as told:
        facts = run_stage(recipe, recipe.stage(name), places, told, (device, track))
    if not first:
        return
    if quiet:
        emit(facts)
        return
    shown = ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in facts.items()
        if key != "begun"
    )
    typer.echo(f"{name}: {shown}\n  {places.out / name}")


def _checkpoint(recipe: Recipe, of: str | None, places: Places) -> None:
    from consilium.train.stages import write_checkpoint

    stage = recipe.stage(of) if of else recipe.chain()[-1]
    typer.echo(str(write_checkpoint(recipe, stage, places)))


@contextmanager
def _told(name: str, quiet: bool) -> Iterator[Told]:
    """A progress bar on stderr with loss, tokens a second and the time left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from consilium.train.stages import Told

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, disable=quiet or not console.is_terminal, speed_estimate_period=120
    ) as bar:
        task = bar.add_task(name, total=None, state="")
        seen = {"loss": 0.0, "rate": 0.0}

        def step(done) -> None:  # type: ignore[no-untyped-def]
            fresh = done.tokens / done.seconds
            seen["loss"] = done.loss if not seen["loss"] else 0.95 * seen["loss"] + 0.05 * done.loss
            seen["rate"] = fresh if not seen["rate"] else 0.9 * seen["rate"] + 0.1 * fresh
            state = f"loss {seen['loss']:.3f}  {seen['rate']:.0f} tokens/s"
            bar.update(task, completed=done.number, total=done.of, state=state)

        def epoch(number: int, loss: float, right: float) -> None:
            bar.update(task, completed=number, state=f"loss {loss:.3f}  val right {100 * right:.1f} %")

        yield Told(step, epoch)
