"""How `arbitrated` weighs evidence: a conditional logit (McFadden 1974) over the options, whose few weights were fitted on
held-out cases and know no class by name, so that they serve any closed question and any number of specialists.

Every piece of evidence (a specialist, the similar cases, the generalist's own reading) gives each option a centred
log-probability; how much it counts depends on what was measured of it: reliability on cases like this one, how far the case
lies from what was learnt, and whether the specialists agree. The sum is what the softmax turns into a probability, so what
each piece did to the answer can be told exactly.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from consilium.consult.prompt import Evidence, option_of
from consilium.consult.vote import votes
from consilium.errors import MemberError
from consilium.types import Array, Case, Opinion, Precedent

SHIPPED = Path(__file__).parent / "arbiter.json"
NEW = "precedents that no specialist learnt"
FEATURES = (
    "specialists",
    "specialists, by their reliability here",
    "specialists, from afar",
    "specialists' first choices",
    "precedents",
    "precedents, from afar",
    "generalist",
    "generalist, where specialists differ",
    "generalist, from afar",
    NEW,
)
LOCAL = "local accuracy"
PRECEDENTS, GENERALIST = "precedents", "generalist"
# Below this a probability says "no" alike; a precedent's vote is smoothed by as many cases an option.
_LEAST, _SMOOTH = 1e-3, 0.2


@dataclass(frozen=True, eq=False)
class Piece:
    """One piece of evidence: `values` (options, features) and, in words, what it said."""

    name: str
    words: str
    values: Array


@dataclass(frozen=True)
class Arbiter:
    """`alone`: weights by feature where the generalist was not asked; `asked`: where it was.

    sure     probability at which the specialists and precedents decide without the generalist, unless one is far afield; 0
             where it is never asked, since its reading did not help on sets left out of the fit.
    several  whether the fit's questions were such of which several options may hold. Where they were not, the generalist is
             not asked about one: on val films its reading made the specialists' probabilities worse.
    floor    probability below which an answer of one option is an abstention; 0 for never.
    made     how the weights came about: command, sets, n.
    """

    alone: Mapping[str, float]
    asked: Mapping[str, float]
    sure: float = 1.0
    floor: float = 0.0
    several: bool = False
    made: Mapping[str, Any] = field(default_factory=dict)

    def probabilities(self, pieces: Sequence[Piece], asked: bool) -> Array:
        """(options,) in [0, 1], summing to 1."""
        return softmax(sum_of(pieces) @ self._weights(asked))

    def influence(self, pieces: Sequence[Piece], asked: bool) -> list[tuple[Piece, float]]:
        """What each piece added to the lead of the best option over the second, in nats; the strongest first."""
        by_piece = [piece.values @ self._weights(asked) for piece in pieces]
        best, second = np.argsort(-np.sum(by_piece, axis=0), kind="stable")[:2]
        told = [(p, float(v[best] - v[second])) for p, v in zip(pieces, by_piece, strict=True)]
        return sorted(told, key=lambda pair: -abs(pair[1]))

    def _weights(self, asked: bool) -> Array:
        chosen = self.asked if asked else self.alone
        return np.array([chosen.get(name, 0.0) for name in FEATURES])


def load(path: Path = SHIPPED) -> Arbiter:
    """The arbiter in a JSON file; MemberError where it is none."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        arbiter = Arbiter(**told)
        unknown = sorted((set(arbiter.alone) | set(arbiter.asked)) - set(FEATURES))
    except (OSError, ValueError, TypeError) as error:
        raise MemberError(f"{path} cannot be read as an arbiter: {error}. Fit it again.") from error
    if unknown:
        raise MemberError(f"{path} weighs {', '.join(unknown)}, which this version does not know. Fit it again.")
    return arbiter


def weighable(
    case: Case, evidence: Evidence, rated: Mapping[str, float] | None = None
) -> tuple[tuple[Piece, ...], float]:
    """(pieces, how far afield): what speaks to all of the case's options. `rated`: the generalist's own probabilities.

    How far afield is the mean over the specialists who spoke, 0 where the case is of the kind they learnt, at most 1.
    """
    options = case.options
    cast = votes(evidence.opinions, options, case.question)
    spoke = (opinion for opinion in evidence.opinions if opinion.abstained is None and opinion.specialist in cast)
    opinions = list({opinion.specialist: opinion for opinion in spoke}.values())  # of one heard twice, its last word
    afar = float(np.mean([_far(opinion) for opinion in opinions])) if opinions else 0.0
    firsts = [max(options, key=lambda option: vote[option]) for vote in cast.values()]
    differ = 1 - max((firsts.count(option) for option in firsts), default=0) / max(len(firsts), 1)
    together = sum(opinion.weight for opinion in opinions)
    pieces = [
        _of_specialist(opinion, cast[opinion.specialist], options, opinion.weight / together) for opinion in opinions
    ]
    known = [
        (found, precedent)
        for precedent in evidence.precedents
        if (found := option_of(precedent.label, options, evidence.broader)) in options
    ]
    if known:
        pieces.append(_of_precedents(known, options, afar, evidence.learnt))
    if rated is not None:
        pieces.append(_of_generalist(rated, options, differ, afar))
    return tuple(pieces), afar


def doubtful(sure: float, most: float, afar: float) -> bool:
    """Whether the generalist is asked, where the others give their best option the probability `most`."""
    return sure > 0 and (bool(afar) or most < sure)


def sum_of(pieces: Sequence[Piece]) -> Array:
    """(options, features): what all pieces say together."""
    return np.sum([piece.values for piece in pieces], axis=0)


def softmax(values: Array) -> Array:
    raised = np.exp(values - values.max())
    return raised / raised.sum()


def _of_specialist(opinion: Opinion, vote: Mapping[str, float], options: Sequence[str], share: float) -> Piece:
    said = _centred([vote[option] for option in options])
    values = np.zeros((len(options), len(FEATURES)))
    values[:, 0] = said
    values[:, 1] = said * reliability(opinion, len(options))
    values[:, 2] = said * _far(opinion)
    values[int(said.argmax()), 3] = 1
    first = options[int(said.argmax())]
    words = f"specialist {opinion.specialist}: {first} {100 * vote[first]:.0f} %"
    local = next((score for score in opinion.reliability if score.metric == LOCAL), None)
    if local is not None:
        words += f", right on {100 * local.value:.0f} % of the known cases most like this one"
    if _far(opinion):
        words += ", on a picture unlike those it learnt"
    return Piece(opinion.specialist, words, values * share)


def _of_precedents(
    known: Sequence[tuple[str, Precedent]], options: Sequence[str], afar: float, learnt: Collection[str]
) -> Piece:
    fresh = [(found, p) for found, p in known if learnt and p.source and p.source not in learnt]
    share = _share(known, options)
    values = np.zeros((len(options), len(FEATURES)))
    values[:, 4] = _centred(share)
    values[:, 5] = values[:, 4] * afar
    values[:, 9] = _centred(_share(fresh, options))
    first = options[int(share.argmax())]
    count = sum(found == first for found, _ in known)
    words = f"{count} of the {len(known)} most similar known cases: {first}"
    if fresh:
        words += f" ({len(fresh)} of them of a source that no specialist here learnt from)"
    return Piece(PRECEDENTS, words, values)


def _share(known: Sequence[tuple[str, Precedent]], options: Sequence[str]) -> Array:
    """(options,) of the similarity that speaks for each, smoothed; even where there is no known case."""
    found = np.array([sum(p.similarity for told, p in known if told == option) for option in options]) + _SMOOTH
    return found / found.sum()


def _of_generalist(rated: Mapping[str, float], options: Sequence[str], differ: float, afar: float) -> Piece:
    said = _centred([rated[option] for option in options])
    values = np.zeros((len(options), len(FEATURES)))
    values[:, 6], values[:, 7], values[:, 8] = said, said * differ, said * afar
    return Piece(GENERALIST, f"the generalist's own reading: {options[int(said.argmax())]}", values)


def _centred(probabilities: Iterable[float]) -> Array:
    logs = np.log(np.maximum(np.array(list(probabilities), float), _LEAST))
    return logs - logs.mean()


def reliability(opinion: Opinion, options: int) -> float:
    """In [0, 1], 0 for no better than chance: from the accuracy on known cases like this one, else from the AUROC."""
    by_name = {score.metric: score.value for score in reversed(opinion.reliability)}
    local, chance = by_name.get(LOCAL), 1 / options
    found = 2 * by_name.get("AUROC", 0.5) - 1 if local is None else (local - chance) / (1 - chance)
    return float(min(max(found, 0.0), 1.0)) if found == found else 0.0


def _far(opinion: Opinion) -> float:
    """In [0, 1]: how far beyond its own kind; where that was not measured, whether it was cautioned."""
    if opinion.foreignness is None:
        return float(bool(opinion.caution))
    return min(max(opinion.foreignness - 1, 0.0), 1.0)
