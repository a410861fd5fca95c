"""A genome at the table: with and without a picture, under every policy; genotypes are never shown to the generalist."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
from tests import phantoms

from consilium import registry
from consilium.consult import policies, prompt
from consilium.consult.admit import admitted
from consilium.consult.cards_prompt import calls
from consilium.consult.council import case_of, consult, consult_many
from consilium.consult.panel import Panel
from consilium.consult.route import refused
from consilium.encoders import patch_statistics
from consilium.errors import MemberError, UsageError
from consilium.genomics.genotypes import Wanted
from consilium.protocols import Card, Entry
from consilium.types import Case, Code, Completion, Finding, Genome, Image, Opinion, Precedent, Score, Study

GENOME = Genome(("person",), ("22:100:A:G", "22:200:C:T"), np.array([[1, 2]], np.int8), "GRCh38")
RISK = Card(
    "specialist",
    "mass_risk",
    "1",
    "Risk of a mass from a genome.",
    concepts=(Code.local("clear"), Code.local("mass")),
    scores=(Score("AUROC", 0.8, 0.7, 0.9, 100),),
    licence="CC0",
)


@dataclass
class Risk:
    """Counts how often it is asked, and what it is shown."""

    card: Card = RISK
    why: str | None = None
    seen: list[Case] = field(default_factory=list)

    def examine(self, case: Case, args: object = None) -> Opinion:
        self.seen.append(case)
        if self.why:
            return Opinion("mass_risk", "1", abstained=self.why)
        found = (Finding(Code.local("mass"), 0.9, True), Finding(Code.local("clear"), 0.1, True))
        return Opinion("mass_risk", "1", found, reliability=RISK.scores, licence="CC0")


FINDER = replace(RISK, name="mass_finder", modalities=("CR",), body_parts=("CHEST",), summary="Masses on a film.")


@dataclass
class Finder:
    """Sees pictures."""

    card: Card = FINDER

    def examine(self, case: Case, args: object = None) -> Opinion:
        assert case.studies
        found = (Finding(Code.local("mass"), 0.7, True), Finding(Code.local("clear"), 0.3, True))
        return Opinion("mass_finder", "1", found, reliability=FINDER.scores, licence="CC0")


@pytest.fixture
def panel() -> Panel:
    """One specialist for pictures, known cases, the generalist that writes nothing of its own."""
    encoder = patch_statistics.load()
    index = registry.get("retrievers", "exact").load(encoder_key=encoder.card.version)
    images = [Image(phantoms.draw(kind, seed), "") for kind in ("clear", "mass") for seed in range(500, 503)]
    known = [Precedent(f"known-{i}", "mass" if i > 2 else "clear", 1.0, modality="CR") for i in range(6)]
    pooled = encoder.embed(images).pooled
    index.add([Entry(f, p, "", i.digest) for f, p, i in zip(pooled, known, images, strict=True)])
    made = Panel(encoder, {}, "echo", index)
    made.seat("mass_finder", Finder())
    return made


def picture_case(modality: str = "CR") -> Case:
    study = Study(modality, "CHEST", (Image(phantoms.draw("mass", 999), "sha256:test"),))
    return case_of([study], "Is there a mass?", ("clear", "mass"))


@pytest.fixture
def risk(panel: Panel) -> Risk:
    """Seated beside the specialist that sees pictures."""
    seated = Risk()
    panel.seat("mass_risk", seated)
    return seated


def both() -> Case:
    return replace(picture_case(), genome=GENOME)


def genome_alone() -> Case:
    return replace(both(), studies=())


@pytest.mark.parametrize("policy", policies.names())
@pytest.mark.parametrize("what", ["both", "genome alone", "picture alone"])
def test_every_policy_answers_or_says_why_not(policy: str, what: str, panel: Panel, risk: Risk) -> None:
    asked = {"both": both(), "genome alone": genome_alone(), "picture alone": picture_case()}[what]
    held = consult(asked, panel, policy)
    assert (held.answer.choice in asked.options) or held.answer.abstained
    said = {opinion.specialist: opinion for opinion in held.opinions}
    if policy in ("gsco", "moed", "panel_vote", "arbitrated"):
        assert set(said) == {"mass_finder", "mass_risk"}
        assert said["mass_risk"].abstained == (None if what != "picture alone" else "the case holds no genome")
        assert (said["mass_finder"].abstained == "the case holds no study") == (what == "genome alone")
        assert held.answer.choice == "mass"
        assert held.licences.get("mass_risk") == ("CC0" if what != "picture alone" else None)
    if what == "picture alone":
        assert not risk.seen


def test_it_is_shown_the_genome_once_and_the_vote_counts_it(panel: Panel, risk: Risk) -> None:
    held = consult(genome_alone(), panel, "panel_vote")
    assert held.answer.probabilities == {"clear": pytest.approx(0.1), "mass": pytest.approx(0.9)}
    assert [case.genome for case in risk.seen] == [GENOME] and held.answer.citations == ("mass_risk",)


def test_a_vote_over_picture_and_genome_is_the_mean_of_both(panel: Panel, risk: Risk) -> None:
    held = consult(both(), panel, "panel_vote")
    assert held.answer.probabilities["mass"] == pytest.approx((0.7 + 0.9) / 2)
    assert held.answer.citations == ("mass_finder", "mass_risk")


@pytest.mark.parametrize("policy", ["gsco", "moed", "arbitrated", "panel_vote"])
def test_where_the_genome_cannot_be_judged_nobody_answers(policy: str, panel: Panel, risk: Risk) -> None:
    risk.why = "the genome has 10% of the variants"
    held = consult(genome_alone(), panel, policy)
    assert held.answer.choice is None and held.answer.abstained
    assert any(opinion.abstained == risk.why for opinion in held.opinions)


def test_without_a_picture_nothing_is_encoded_and_no_precedent_is_sought(panel: Panel, risk: Risk) -> None:
    held = consult(genome_alone(), panel, "gsco")
    assert "encoder" not in held.timings_s and held.precedents == ()
    assert "no precedents: the case holds no picture" in held.notes


def test_genotypes_are_in_no_prompt(panel: Panel, risk: Risk) -> None:
    for profile in prompt.PROFILES:
        for asked in (both(), genome_alone()):
            held = consult(asked, panel, "gsco", profile)
            text = "\n".join(message.text for message in held.exchange)
            assert text and "22:100" not in text and "A:G" not in text
    lines = prompt.compose(genome_alone())[-1].text.splitlines()
    assert lines[0] == "Image: none. Genome: read by specialists alone."
    assert prompt.compose(both())[-1].text.startswith("Image: chest X-ray. Genome: read by specialists alone.")
    assert "image" not in prompt.compose(genome_alone(), profile="published")[-1].text.split("The possible")[0]
    assert prompt.compose(picture_case())[-1].text.startswith("Image: chest X-ray.\n")


def test_the_name_of_a_case_depends_on_its_genome_and_not_on_whose_it_is() -> None:
    dosages = np.random.default_rng(0).integers(0, 3, (1, 300)).astype(np.int8)
    names = tuple(f"22:{place}:A:G" for place in range(300))
    genome = Genome(("Jane Doe",), names, dosages, "GRCh38")
    named = case_of((), "Is there a mass?", genome=genome)
    assert named.genome is genome and named.id != case_of((), "Is there a mass?").id
    same = replace(genome, samples=("person",), dosages=dosages.astype(np.float32))
    assert case_of((), "Is there a mass?", genome=same).id == named.id
    for other in (replace(genome, dosages=2 - dosages), replace(genome, build="GRCh37"), genome_alone().genome):
        assert case_of((), "Is there a mass?", genome=other).id != named.id


def test_places_are_those_of_all_who_read_genomes_and_all_there_are_where_one_names_none(panel: Panel) -> None:
    with pytest.raises(UsageError, match="no specialist at the table reads genomes"):
        panel.genome_places()
    for name, keys in (("one", [3, 7]), ("other", [1, 7])):
        seated = Risk(replace(RISK, name=name))
        seated.table = SimpleNamespace(wanted=lambda keys=keys: Wanted(np.array(keys)))  # type: ignore[attr-defined]
        panel.seat(name, seated)
    places = panel.genome_places()
    assert places is not None and places.keys.tolist() == [1, 3, 7]
    panel.seat("mass_risk", Risk())
    assert panel.genome_places() is None


def test_a_reader_of_genomes_that_cannot_be_loaded_names_no_places_and_is_an_error_only_alone(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Risk(replace(RISK, name="whole"))
    whole.table = SimpleNamespace(wanted=lambda: Wanted(np.array([3, 7])))  # type: ignore[attr-defined]

    def load(self: Panel, name: str) -> Risk:
        if name == "broken":
            raise MemberError("its files are of different traits. Train it again.")
        return whole

    monkeypatch.setattr(Panel, "specialist", load)
    panel.specialists["broken"] = replace(RISK, name="broken")
    with pytest.raises(MemberError, match="Train it again"):
        panel.genome_places()
    panel.specialists["whole"] = whole.card
    places = panel.genome_places()
    assert places is not None and places.keys.tolist() == [3, 7]


@dataclass
class Seer:
    """A generalist that sees images and would answer anything."""

    card: Card = field(default_factory=lambda: Card("generalist", "seer", "1", ""))
    sees_images: bool = True
    asked: int = 0

    def generate(self, messages: object, max_tokens: int = 128) -> Completion:
        return Completion("clear")

    def score(self, messages: object, options: tuple[str, ...]) -> tuple[float, ...]:
        self.asked += 1
        return tuple(0.0 if option == "clear" else -5.0 for option in options)


def test_a_generalist_that_sees_is_not_asked_to_weigh_a_genome_nobody_judged(panel: Panel, risk: Risk) -> None:
    seer = Seer()
    panel.seat_generalist(seer)
    risk.why = "another ancestry"
    held = consult(genome_alone(), panel, "gsco")
    assert held.answer.abstained == "nobody gave evidence, and the generalist reads no genotypes" and not seer.asked
    assert consult(both(), panel, "gsco").answer.choice is not None and seer.asked


def test_arbitrated_asks_a_seeing_generalist_about_a_picture_but_not_about_a_genome(panel: Panel, risk: Risk) -> None:
    seer = Seer()
    panel.seat_generalist(seer)
    held = consult(genome_alone(), panel, "arbitrated")
    assert held.answer.choice == "mass" and not seer.asked


def test_the_card_admits_by_what_the_case_holds(panel: Panel, risk: Risk) -> None:
    assert refused(RISK, picture_case()) == "the case holds no genome" and refused(RISK, genome_alone()) is None
    film = panel.specialists["mass_finder"]
    assert refused(film, genome_alone()) == "the case holds no study" and refused(film, both()) is None
    assert "it is for CR" in (refused(film, picture_case(modality="CT")) or "")
    assert [card.name for card in admitted(panel.specialists, genome_alone())] == ["mass_risk"]
    assert {card.name for card in admitted(panel.specialists, both())} == {"mass_finder", "mass_risk"}
    assert "modality: genome" in calls([RISK])


def test_a_generalist_may_call_for_the_genomes_reader(panel: Panel, risk: Risk) -> None:
    class Caller(Seer):
        def generate(self, messages: object, max_tokens: int = 128) -> Completion:
            self.asked += 1
            return Completion("<MASS_RISK()>" if self.asked == 1 else "mass")

    panel.seat_generalist(Caller())
    held = consult(genome_alone(), panel, "triggered")
    assert [opinion.specialist for opinion in held.opinions] == ["mass_risk"] and len(risk.seen) == 1


def test_in_a_batch_cases_with_and_without_pictures_stand_side_by_side(panel: Panel, risk: Risk) -> None:
    held = list(consult_many([both(), genome_alone(), picture_case()], panel, "panel_vote"))
    assert [one.answer.choice for one in held] == ["mass"] * 3


def test_a_risk_image_is_read_by_likelihood(panel: Panel) -> None:
    from consilium.genomics import risk_image

    layout = risk_image.at_random(["a", "b"], ("p1", "p2", "p3"))
    study = risk_image.study(risk_image.draw(np.full((2, 3), 40.0), layout))
    asked = Case("c", "Does this person develop gout?", ("yes", "no"), (study,), "Age: 50 years. Sex: male.")

    class Reader(Seer):
        def score(self, messages, options):  # type: ignore[no-untyped-def]
            pictures = [part for message in messages for part in message.parts if isinstance(part, Image)]
            assert len(pictures) == 1 and np.array_equal(pictures[0].pixels, study.images[0].pixels)  # type: ignore[union-attr]
            assert "Age: 50 years. Sex: male." in messages[-1].text
            return (-1.0, -2.0)

    panel.seat_generalist(Reader())
    held = consult(asked, panel, "solo")
    assert held.answer.probabilities["yes"] == pytest.approx(np.exp(-1) / (np.exp(-1) + np.exp(-2)))
