"""Stage 3, expert-guided (VILA-M3's fourth stage, GSCo's prompts): conversations in which specialists' opinions and similar
cases stand in the prompt in the format of each policy, right, wrong or missing. The answer is the label, always: where
`misled` puts another picture before right opinions, that of the picture they speak of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from consilium import registry
from consilium.consult.panel import DEFAULT_ENCODER
from consilium.consult.prompt import Evidence, Profile, compose
from consilium.errors import DataError
from consilium.protocols import Card, Encoder
from consilium.train.conversations import asked, calls, diagnosis
from consilium.train.conversations.bench import Bench, lay
from consilium.train.conversations.group import Branch, Group
from consilium.train.conversations.plan import Planned
from consilium.train.conversations.trust import CONDITIONS, Shown, show
from consilium.train.mixture import Mixture
from consilium.types import Array

FORMATS = ("moed", "gsco", "rad")


@dataclass(frozen=True)
class Question:
    """A closed question: option -> the classes that it stands for, in the order in which they are shown; the right option."""

    text: str
    options: Mapping[str, tuple[str, ...]]
    answer: str


def plan(mixture: Mixture, data: Path, encoder: Encoder | None = None) -> list[Planned]:
    """The groups of stage 3 in the order in which they are written: train shuffled, then val.

    DataError where the mixture names a source here that has no specialist, or a condition there is not.
    """
    settings = mixture.guided
    unknown = set(settings["conditions"]) - set(CONDITIONS)
    if unknown:
        raise DataError(
            f"the mixture names conditions {', '.join(sorted(unknown))}; there are {', '.join(CONDITIONS)}."
        )
    shared = encoder or registry.get("encoders", DEFAULT_ENCODER).load()
    benches = [lay(source, _members(mixture, source.name), data, shared) for source in mixture.of("guided")]
    cards = tuple(member.card for member in experts(mixture))
    planned = [entry for bench in benches for entry in _told(mixture, bench)]
    planned += _calls(mixture, benches, cards)
    Random(f"{mixture.seed} guided order").shuffle(planned)
    return [entry for _, entry in sorted(planned, key=lambda pair: pair[0] != "train")]


def _members(mixture: Mixture, name: str) -> tuple[str, ...]:
    try:
        return tuple(mixture.guided["specialists"][name])
    except KeyError as error:
        raise DataError(f"source {name} is told in stage guided, but guided.specialists names none for it.") from error


def experts(mixture: Mixture) -> list[registry.Member]:
    """The specialists whose opinions are told, and those whose cards are offered."""
    named = mixture.guided.get("specialists", {})
    names = dict.fromkeys(name for members in named.values() for name in members)
    names |= dict.fromkeys(mixture.guided.get("offered", ()))
    return [registry.get("specialists", name) for name in names]


def _told(mixture: Mixture, bench: Bench) -> list[tuple[str, Planned]]:
    """One group a picture, as often as the mixture repeats it."""
    entries = []
    for row, record in enumerate(bench.records):
        repeat = bench.source.repeat["guided"] if record.split == "train" else 1
        more = Random(f"{mixture.seed} guided {bench.path(row)} turns").random() < repeat % 1
        for turn in range(int(repeat) + more):
            entries.append((record.split, _planned(mixture, bench, row, turn)))
    return entries


def _planned(mixture: Mixture, bench: Bench, row: int, turn: int) -> Planned:
    name = f"{bench.path(row)}#guided.{turn}"

    def make() -> Group:
        rng = Random(f"{mixture.seed} {name}")
        system, branches = _conversations(mixture.guided, bench, row, rng)
        if all(branch.extra["condition"] == "as_is" and branch.extra["opinion_right"] for branch in branches):
            draw = Random(f"{mixture.seed} {name} eyes")
            if draw.random() < mixture.guided.get("misled", 0):
                told = tuple(replace(branch, extra={**branch.extra, "eyes": "misled"}) for branch in branches)
                return _group(name, bench, _another(bench, row, draw), system, told)
        return _group(name, bench, row, system, branches)

    return Planned(name, make)


def _another(bench: Bench, row: int, rng: Random) -> int:
    """A picture of the same split with another label. Of the pictures it has learnt the model's eyes are seldom wrong, of
    new ones often: where the opinions on this one are right, seeing another is how it learns that they may know better."""
    mine = bench.records[row]
    return rng.choice([i for i, r in enumerate(bench.records) if r.split == mine.split and r.labels != mine.labels])


def _group(name: str, bench: Bench, row: int, system: str, branches: Sequence[Branch]) -> Group:
    return Group(
        name,
        bench.source.name,
        bench.source.licence,
        bench.records[row].split,
        bench.path(row),
        bench.digests[row],
        system,
        tuple(branches),
    )


def _conversations(settings: Mapping[str, Any], bench: Bench, row: int, rng: Random) -> tuple[str, tuple[Branch, ...]]:
    """The system text and two or three branches that share it: one condition, one profile."""
    condition = rng.choices(list(settings["conditions"]), list(settings["conditions"].values()))[0]
    evidence = show(condition, bench, row, rng.random() < settings["beside"], rng)
    # A stated reliability is what tells a poor specialist, and the published format states none.
    profile: Profile = "published" if condition != "degraded" and rng.random() < settings["published"] else "measured"
    formats = _formats(condition, rng)
    system, branches = "", []
    for _ in range(2 + (rng.random() < settings["third_branch"])):
        question = _fitting(bench, row, profile, evidence, rng)
        system, branch = _branch(bench, row, (rng.choice(formats), profile), evidence, question)
        branches.append(branch)
    return system, tuple({branch.messages: branch for branch in branches}.values())


def _fitting(bench: Bench, row: int, profile: Profile, evidence: Shown, rng: Random) -> Question:
    """A question to which the evidence of this condition speaks: an adversary is wrong in its terms. The published format
    leaves the words of a closed question out, so yes and no would answer nothing."""
    labels = [code.meaning for code in bench.judged.card.concepts]
    while True:
        question = _question(bench, row, rng)
        harmless = evidence.said is not None and says(evidence.said, labels, question) == question.answer
        if profile == "published" and "yes" in question.options:
            continue
        if evidence.condition != "adversarial" or not harmless:
            return question


def _formats(condition: str, rng: Random) -> tuple[str, ...]:
    """The policies whose prompts can show this condition; rad names no specialist, so it has a system text of its own."""
    if condition in ("degraded", "adversarial"):
        return ("moed", "gsco")
    if condition == "precedents_wrong":
        return ("gsco",) if rng.random() < 0.6 else ("rad",)
    return ("moed", "gsco") if rng.random() < 0.75 else ("rad",)


def _branch(
    bench: Bench, row: int, manner: tuple[str, Profile], evidence: Shown, question: Question
) -> tuple[str, Branch]:
    """(system text, branch) in the format of a policy, written by compose as `consult` serves it."""
    form, profile = manner
    case = asked.case(question.text, tuple(question.options), (bench.source.modality, bench.source.body_part))
    broader = {label: group for group, labels in bench.judged.card.groups.items() for label in labels}
    opinions = evidence.opinions if form != "rad" else ()
    precedents = evidence.precedents if form != "moed" else ()
    messages = compose(case, Evidence(opinions, precedents, broader), profile)
    labels = [code.meaning for code in bench.judged.card.concepts]
    right = None if form == "rad" or evidence.said is None else says(evidence.said, labels, question) == question.answer
    extra = {"condition": evidence.condition, "format": f"{form} {profile}", "opinion_right": right}
    system = messages[0].text if messages[0].role == "system" else ""
    return system, Branch("guided", (("user", messages[-1].text), ("assistant", question.answer)), False, extra)


def says(said: Array, labels: Sequence[str], question: Question) -> str:
    """The option that the class probabilities (classes,) give the most weight."""
    mass = {o: sum(float(said[labels.index(label)]) for label in of) for o, of in question.options.items()}
    return max(mass, key=lambda option: mass[option])


def _question(bench: Bench, row: int, rng: Random) -> Question:
    """All classes, some of them, a coarser division, or yes and no; options in any order, spelled as labels or with spaces."""
    label, words, draw = bench.records[row].labels[0], bench.words, rng.random()
    if draw < 0.35 and words["groupings"]:
        text, right, shown = diagnosis.grouping(label, words, rng)
        kinds = next(found["options"] for found in words["groupings"] if set(found["options"]) == set(shown))
        return Question(text, {option: tuple(kinds[option]) for option in shown}, right)
    if draw < 0.47:
        return _yes_no(label, words, rng)
    labels = tuple(words["labels"])
    chosen = asked.some(labels, label, rng) if draw < 0.6 else asked.shuffled(labels, rng)
    spaced = rng.random() < 0.5
    spelled = {name.replace("_", " ") if spaced else name: (name,) for name in chosen}
    return Question(diagnosis.question(words, rng), spelled, label.replace("_", " ") if spaced else label)


def _yes_no(label: str, words: Mapping[str, Any], rng: Random) -> Question:
    yes = rng.random() < 0.5
    concept = rng.choice([c for c in words["concepts"] if (label in c["labels"]) == yes])
    ways = concept.get("questions") or asked.wording("diagnosis")["yes_no"]
    text = rng.choice(ways).format(picture=words["picture"], thing=concept.get("thing", ""))
    kinds = {"yes": tuple(concept["labels"]), "no": tuple(set(words["labels"]) - set(concept["labels"]))}
    return Question(text, {o: kinds[o] for o in asked.shuffled(kinds, rng)}, "yes" if yes else "no")


def _calls(mixture: Mixture, benches: Sequence[Bench], cards: tuple[Card, ...]) -> list[tuple[str, Planned]]:
    """As many groups that call an expert as the mixture asks for, spread over the sets and splits."""
    entries = []
    for split, wanted in mixture.guided.get("calls", {}).items():
        for number in range(wanted):
            bench = benches[number % len(benches)]
            rows = [row for row, record in enumerate(bench.records) if record.split == split]
            if rows:
                row = Random(f"{mixture.seed} call {split} {number}").choice(rows)
                entries.append((split, _call(mixture, bench, row, number, cards)))
    return entries


def _call(mixture: Mixture, bench: Bench, row: int, number: int, cards: tuple[Card, ...]) -> Planned:
    name = f"{bench.path(row)}#call.{number}"

    def make() -> Group:
        rng = Random(f"{mixture.seed} {name}")
        branches = calls.conversations(bench, row, cards, dict(mixture.guided["call_shares"]), rng)
        return _group(name, bench, row, asked.system(), branches)

    return Planned(name, make)
