"""What is common to chest films: view, findings that are there or not, COVID-19, places, descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from consilium.train.conversations import asked
from consilium.train.conversations.asked import Seen
from consilium.train.conversations.group import Branch

CHEST: Seen = ("CR", "CHEST")
VIEWS = ("AP", "PA")


def view(truth: str, rng: Random) -> Branch:
    """AP or PA, open, by options, or by yes and no."""
    words = asked.wording("film")
    if rng.random() < 0.35:
        named = rng.choice(VIEWS)
        a_view = {"AP": "an AP", "PA": "a PA"}[named]
        text = rng.choice(words["view_yes_no"]).format(view=named, a_view=a_view)
        return asked.yes_no("view", text, named == truth, asked.told(CHEST, rng), rng)
    options = asked.shuffled(VIEWS, rng) if rng.random() < 0.7 else ()
    return asked.ask("view", rng.choice(words["view"]), truth, options, asked.told(CHEST, rng))


def is_there(finding: str, yes: bool, rng: Random) -> Branch:
    text = rng.choice(asked.wording("film")["finding"]).format(finding=finding)
    return asked.yes_no("yes_no", text, yes, asked.told(CHEST, rng), rng)


def normal(yes: bool, rng: Random) -> Branch:
    """Whether the film is without finding, asked either way round."""
    turned = rng.random() < 0.5
    text = rng.choice(asked.wording("film")["abnormal" if turned else "normal"])
    return asked.yes_no("yes_no", text, yes != turned, asked.told(CHEST, rng), rng)


def either(question: str, options: Sequence[str], truth: str, rng: Random) -> Branch:
    """A closed question with two diagnoses as options."""
    text = rng.choice(asked.wording("film")[question])
    return asked.ask("diagnosis", text, truth, asked.shuffled(options, rng), asked.told(CHEST, rng))


def listing(findings: Sequence[str], rng: Random) -> Branch:
    """All labelled findings, in the set's order; "no finding" where the film is labelled so."""
    text = rng.choice(asked.wording("film")["listing"])
    return asked.ask("report", text, ", ".join(findings) or "no finding", (), asked.told(CHEST, rng))


def description(findings: Sequence[str], shown_view: str, rng: Random) -> Branch:
    """One sentence with the view, where it is known, and what is labelled; none of the labels: said to be without finding."""
    words = asked.wording("describe")
    said = joined(asked.shuffled(findings, rng)) or rng.choice(words["no_finding"])
    text = rng.choice(words["film" if shown_view else "film_without_view"]).format(view=shown_view, findings=said)
    told = CHEST if rng.random() < 0.4 else asked.UNTOLD
    return asked.ask("description", rng.choice(words["instructions"]), asked.sentence(text), (), told)


def joined(words: Sequence[str]) -> str:
    """ "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def sex(truth: str, rng: Random) -> Branch:
    options = asked.shuffled(("male", "female"), rng) if rng.random() < 0.7 else ()
    return asked.ask("view", rng.choice(asked.wording("film")["sex"]), truth, options, asked.told(CHEST, rng))
