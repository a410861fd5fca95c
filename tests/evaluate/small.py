"""A small evaluation without weights: drawn breast ultrasounds, a trained light specialist, the echo generalist."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.train import small_sets

from consilium import registry
from consilium.consult.panel import Panel
from consilium.datasets.folder import read_folder
from consilium.encoders import patch_statistics
from consilium.evaluate.council import Council
from consilium.evaluate.plain import STUDY
from consilium.evaluate.plan import Task, Wishes, plan
from consilium.evaluate.run import Evaluation
from consilium.specialists import light
from consilium.train.precedents import entries
from consilium.train.specialist import Recipe, train


@dataclass(frozen=True)
class SmallCouncil(Council):
    """Seats the specialist `finder` of `room`, and an index of the train pictures and, if it is to be tempted, the test ones."""

    room: Path = Path()
    data: Path = Path()
    tempted: bool = False

    def panel(self) -> Panel:
        encoder = patch_statistics.load()
        index = registry.get("retrievers", "exact").load(encoder_key=encoder.card.version)
        data = read_folder(self.data)
        known = [*data.of("train"), *(data.of("test") if self.tempted else ())]
        index.add(entries(data, known, encoder, ("US", "BREAST"), ""))
        made = Panel(encoder, {}, "echo", index)
        made.seat("finder", light.load(self.room / "finder", encoder))
        return made


def prepare(folder: Path) -> tuple[Path, Path]:
    """(the set, the room of its specialist), made under `folder`."""
    data = small_sets.breast(folder / "data", 60) / "breast_ultrasound_busi"
    train(read_folder(data), Recipe("finder", ("US",), ("BREAST",)), patch_statistics.load(), folder / "room")
    return data, folder / "room"


def task(data: Path, **wishes: Any) -> Task:
    return plan(read_folder(data), Wishes(**{"modality": "US", "body_part": "BREAST"} | wishes))


def evaluation(place: tuple[Path, Path], out: Path, *policies: str, **changes: Any) -> Evaluation:
    """Of these policies (all by default) on the test split; changes: wishes, tempted, or fields of the Evaluation."""
    data, room = place
    wishes = changes.pop("wishes", {})
    council = SmallCouncil(
        generalist="echo", index="small", room=room, data=data, tempted=changes.pop("tempted", False)
    )
    chosen = policies or ("solo", "panel_vote", "moed", "gsco")
    return Evaluation(task(data, **wishes), council, chosen, out, changes.pop("study", STUDY), **changes)
