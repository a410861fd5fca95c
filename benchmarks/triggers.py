"""Does the generalist call the expert that fits, with the right arguments, and nobody where nobody is needed?

python benchmarks/triggers.py [--turns 400] [--generalist native] [--folder CHECKPOINT] [--offer all]

Dialogues over every card of the registry and over experts and wordings that were never trained on (triggers_cards.toml), on
pictures of ../shared/data. A turn is right where exactly the fitting expert is called with the arguments that the question asks
for, or nobody where none fits or none is needed. Beside it stands what routing by card alone asks: everyone whose card admits the
picture. The gate by modality is measured by itself on --gate turns of adversarial text, without a model.

--offer all: cards for all kinds of pictures are offered; gated: those alone that admit the picture, as policy `triggered` does.
About 1.5 s a turn on one core. Writes results/triggers.json where --turns is 400 or more, else beside it under .venv/records.
"""

from __future__ import annotations

import argparse
import json
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from tqdm import tqdm

from consilium import formats, registry
from consilium.consult import cards_prompt
from consilium.consult.admit import admit, admitted
from consilium.consult.calls import find
from consilium.consult.choose import choose
from consilium.consult.panel import ROUTER, Panel, assemble
from consilium.consult.prompt import compose, images_of
from consilium.consult.table import Table
from consilium.datasets.folder import read_folder
from consilium.protocols import Card, Generalist
from consilium.train.conversations import cards as taught
from consilium.train.conversations.cards import Task
from consilium.types import Case, Completion, Message, Study
from native_common import native, only_shipped
from triggers_gate import ASKED, SEED, gate, share

WHOLE, PICTURES = 400, 6
_BODY = {
    "medpix2_ct_mr": lambda row: row["modality"] == "CT" and row["location"] in ("Gastrointestinal", "Genitourinary")
}


@dataclass(frozen=True, eq=False)
class Turn:
    """One question with the cards offered; `fitting` and `arguments` are what is to be called, "" for nobody."""

    kind: str
    case: Case
    offered: tuple[Card, ...]
    fitting: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Heard:
    """A generalist that keeps what it wrote."""

    inner: Generalist
    wrote: str = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def generate(self, messages: Sequence[Message], max_tokens: int = 128) -> Completion:
        found = self.inner.generate(messages, min(max_tokens, 40))
        self.wrote = found.text
        return found


class Pictures:
    """Some test pictures of each set, read once."""

    def __init__(self, data: Path) -> None:
        self._data, self._read = data, {}  # type: ignore[var-annotated]

    def study(self, name: str, kind: tuple[str, str], rng: Random) -> Study:
        """A picture of the set under this modality and body part; a study without one where there is no set."""
        if not name:
            return Study(kind[0], kind[1], ())
        if name not in self._read:
            rows = [
                r for r in _records(self._data / name) if r.split == "test" and _BODY.get(name, lambda _: True)(r.row)
            ]
            self._read[name] = [r.path for r in Random(SEED).sample(rows, min(len(rows), PICTURES))]
        return formats.read(rng.choice(self._read[name]), modality=kind[0], body_part=kind[1])[0]


def _records(folder: Path) -> Sequence[Any]:
    return read_folder(folder).records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--turns", type=int, default=WHOLE)
    parser.add_argument("--gate", type=int, default=10_000)
    parser.add_argument("--generalist", default="native")
    parser.add_argument("--folder", type=Path, help="checkpoint of native; default: the shipped weights")
    parser.add_argument("--offer", choices=("all", "gated"), default="all")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    only_shipped()
    real = {name: m.card for name, m in registry.find("specialists").items() if name != ROUTER}
    report: dict[str, Any] = {"command": _command(options), "cards": sorted(real), "gate": gate(options.gate, real)}
    if options.turns:
        report |= measured(options, real)
    whole = options.turns >= WHOLE
    out = options.out or (Path("results") if whole else Path(".venv/records")) / "triggers.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


def measured(options: argparse.Namespace, real: Mapping[str, Card]) -> dict[str, Any]:
    generalist = Heard(_generalist(options))
    panel = assemble(generalist="echo", index=None)
    panel._loaded[""] = generalist
    rows, start = [], time.perf_counter()
    for turn in tqdm(list(turns(options, real))):
        rows.append(_answered(turn, panel, generalist, options.offer))
    return {
        "generalist": f"{generalist.card.name} {generalist.card.version}",
        "seconds_a_turn": round((time.perf_counter() - start) / max(1, len(rows)), 2),
        "figures": _figures(rows),
        "wrong": [
            {k: row[k] for k in ("kind", "question", "fitting", "said", "wrote")} for row in rows if not row["right"]
        ][:60],
    }


def _generalist(options: argparse.Namespace) -> Generalist:
    if options.generalist == "native" and options.folder:
        return native(options.folder, most=40)
    return assemble(generalist=options.generalist, index=None).generalist


def turns(options: argparse.Namespace, real: Mapping[str, Card]) -> Iterator[Turn]:
    """As many turns as asked for, the kinds by turns, each drawn by its number alone."""
    asked, pictures = tomllib.loads(ASKED.read_text(encoding="utf-8")), Pictures(options.data)
    pool = Pool(asked, dict(real), pictures)
    makers = (pool.registry_taught, pool.registry_held_out, pool.held_out, pool.taught, pool.nobody, pool.needless)
    for number in range(options.turns):
        yield makers[number % len(makers)](Random(f"{SEED} {number}"), number // len(makers))


@dataclass
class Pool:
    """Where the turns are drawn from."""

    asked: Mapping[str, Any]
    real: Mapping[str, Card]
    pictures: Pictures

    def __post_init__(self) -> None:
        self.sets = [task.pop("pictures", "") for task in self.asked["tasks"]]
        self.tasks = [taught._task(task) for task in self.asked["tasks"]]
        self.known = [name for name in self.asked["registry"] if name in self.real]

    def registry_taught(self, rng: Random, number: int) -> Turn:
        return self._registry(rng, [n for n in self.known if self.asked["registry"][n]["taught"]], "taught", number)

    def registry_held_out(self, rng: Random, number: int) -> Turn:
        return self._registry(rng, self.known, "held_out", number)

    def _registry(self, rng: Random, names: Sequence[str], which: str, number: int) -> Turn:
        name = names[number % len(names)]
        told = self.asked["registry"][name]
        text, kind = rng.choice(told[which]), tuple(told["kind"])
        options = (
            tuple(rng.sample(told["options"], len(told["options"]))) if "options" in told and rng.random() < 0.7 else ()
        )
        case = Case("turn", text, options, (self.pictures.study(told["pictures"], kind, rng),))
        filled = (
            {told["argument"]: json.loads(text[text.index("[") : text.index("]") + 1])} if "argument" in told else {}
        )
        return self._turn(f"registry, {which} wording", case, self.real[name], filled, rng)

    def held_out(self, rng: Random, number: int) -> Turn:
        task, pictures = self.tasks[number % len(self.tasks)], self.sets[number % len(self.tasks)]
        return self._made_up("held-out experts", task, pictures, rng)

    def taught(self, rng: Random, number: int) -> Turn:
        task = rng.choice(taught.tasks())
        return self._made_up("made-up experts of the training", task, self._set_of(task), rng)

    def nobody(self, rng: Random, number: int) -> Turn:
        """The question of one expert, where others are offered."""
        task, pictures = self.tasks[number % len(self.tasks)], self.sets[number % len(self.tasks)]
        turn = self._made_up("none of the experts fits", task, pictures, rng)
        return replace(turn, offered=tuple(c for c in turn.offered if c.name != turn.fitting), fitting="", arguments={})

    def needless(self, rng: Random, number: int) -> Turn:
        name = self.known[number % len(self.known)]
        told = self.asked["registry"][name]
        case = Case(
            "turn",
            rng.choice(self.asked["needless"]),
            (),
            (self.pictures.study(told["pictures"], tuple(told["kind"]), rng),),
        )
        return replace(self._turn("needless", case, self.real[name], {}, rng), fitting="")

    def _made_up(self, kind: str, task: Task, pictures: str, rng: Random) -> Turn:
        asked, filled = task.question(rng)
        case = replace(asked, studies=(self.pictures.study(pictures, (task.modality, task.part), rng),))
        return self._turn(kind, case, task.card(rng), filled, rng, (task,))

    def _turn(
        self,
        kind: str,
        case: Case,
        fitting: Card,
        filled: Mapping[str, Any],
        rng: Random,
        unlike: tuple[Task, ...] = (),
    ) -> Turn:
        """The fitting card among one to seven others: made up, held out, real."""
        seen = (case.studies[0].modality or "", case.studies[0].body_part or "")
        near = [task for task in taught.tasks() if fitting.name in task.beside]
        count = rng.randint(1, 7)
        others = taught.distractors(count, seen, [*unlike, *near], rng)
        others += [task.card(rng) for task in rng.sample(self.tasks, 2) if task not in unlike]
        twins = {name for task in unlike for name in task.beside}
        others += [
            card
            for card in rng.sample(list(self.real.values()), min(2, len(self.real)))
            if card.name not in twins and (card.name != "medsam" or "[" not in case.question)
        ]
        chosen = {card.name: card for card in [fitting, *rng.sample(others, min(count, len(others)))]}
        offered = list(chosen.values())
        rng.shuffle(offered)
        return Turn(kind, case, tuple(offered), fitting.name, filled)

    def _set_of(self, task: Task) -> str:
        kinds = {tuple(told["kind"]): told["pictures"] for told in self.asked["registry"].values()}
        return kinds.get((task.modality, task.part), "")


def _answered(turn: Turn, panel: Panel, generalist: Heard, offer: str) -> dict[str, Any]:
    """What the generalist called, and what routing by card would have asked."""
    by_card = {card.name: card for card in turn.offered}
    fitting = admitted(by_card, turn.case)
    offered = list(turn.offered) if offer == "all" else fitting
    panel.specialists = by_card
    table, plain = Table(turn.case, panel), compose(turn.case)
    messages = [plain[0], Message("user", (*images_of(plain), cards_prompt.offered(turn.case, offered)))]
    # An expert that does not admit the picture may be offered, and written, but never be carried out.
    requests = choose(table, messages, [card for card in offered if card in fitting], set()) if offered else ()
    made = [(r.name, dict(r.arguments)) for r in requests if not r.problem]
    wanted = [(turn.fitting, dict(turn.arguments))] if turn.fitting else []
    wrote = [(c.name.lower(), dict(c.arguments)) for c in find(generalist.wrote, by_card)] if offered else []
    return {
        "kind": turn.kind,
        "question": turn.case.question,
        "fitting": cards_prompt.call(by_card[turn.fitting], turn.arguments) if turn.fitting else "",
        "said": " ".join(cards_prompt.call(by_card[name], given) for name, given in made),
        "wrote": generalist.wrote[:80] if offered else "",
        "right": made == wanted,
        "expert": [name for name, _ in made] == [name for name, _ in wanted],
        "filled": made == wanted if turn.arguments else None,
        "as_written": wrote == wanted,
        "refused": sum(bool(r.gated) for r in (admit(c, by_card, turn.case) for c in find(generalist.wrote, by_card)))
        if offered
        else 0,
        "asked": len(made),
        "routing": [card.name for card in fitting] == [name for name, _ in wanted] and not turn.arguments,
        "routed": len(fitting),
    }


def _figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    by_kind: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_kind[row["kind"]].append(row)
    return {name: _of(some) for name, some in [("all", list(rows)), *by_kind.items()]}


def _of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    filled = [row["filled"] for row in rows if row["filled"] is not None]
    return {
        "right expert and arguments": share([row["right"] for row in rows]),
        "right expert": share([row["expert"] for row in rows]),
        "arguments, where asked for": share(filled) if filled else None,
        "right as written, without the choice by likelihood": share([row["as_written"] for row in rows]),
        "calls that the gate refused": int(sum(row["refused"] for row in rows)),
        "experts asked a turn": round(sum(row["asked"] for row in rows) / len(rows), 2),
        "routing by card: right expert and no other": share([row["routing"] for row in rows]),
        "routing by card: experts asked a turn": round(sum(row["routed"] for row in rows) / len(rows), 2),
    }


def _command(options: argparse.Namespace) -> str:
    parts = [
        "python benchmarks/triggers.py",
        f"--turns {options.turns}",
        f"--generalist {options.generalist}",
        f"--offer {options.offer}",
    ]
    return " ".join([*parts, *(["--folder FOLDER"] if options.folder else [])])


if __name__ == "__main__":
    main()
