"""The polygenic_risk specialist, made of files and asked of genomes: what it says, and when it says nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.genomics.cohort import Cohort, draw
from tests.polygenic import NAME, OUTCOMES, PEOPLE, TRAITS, Made, make_member

from consilium import registry
from consilium.errors import BuildError, DataError, GenotypeError, MemberError, UsageError
from consilium.genomics import risk_image
from consilium.genomics.genome import InMemory, read_genome
from consilium.genomics.genotypes import open_genotypes
from consilium.genomics.sealed import seal
from consilium.metrics.classification import auroc
from consilium.protocols import Specialist
from consilium.specialists import polygenic_risk
from consilium.specialists.polygenic_risk import PolygenicRisk
from consilium.types import Case, Genome, Opinion


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_member(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def risk(made: Made) -> PolygenicRisk:
    return polygenic_risk.load(made.room / NAME)


def person(made: Made, risk: PolygenicRisk, number: int) -> Genome:
    return read_genome(made.genotypes, risk.table.wanted(), f"P{number}", "GRCh38")


def case(genome: Genome | None, history: str = "Age: 58 years. Sex: female.") -> Case:
    return Case("case-1", "Does this person develop angina?", ("yes", "no"), history=history, genome=genome)


def said(opinion: Opinion) -> dict[str, float]:
    assert opinion.abstained is None, opinion.abstained
    return {finding.concept.meaning: finding.probability or 0.0 for finding in opinion.findings}


def of_test_people(made: Made, risk: PolygenicRisk, number: int = 70) -> tuple[list[int], list[Opinion]]:
    rows = list(np.flatnonzero(made.split == "test")[:number])
    texts = [risk_image.demographic_text(round(made.age[i], 1), "male" if made.male[i] else "female") for i in rows]
    return rows, [risk.examine(case(person(made, risk, i), text)) for i, text in zip(rows, texts, strict=True)]


def test_it_tells_who_falls_ill_among_people_it_never_saw(made: Made, risk: PolygenicRisk) -> None:
    rows, opinions = of_test_people(made, risk)
    judged = [i for i, opinion in enumerate(opinions) if opinion.abstained is None]
    assert len(judged) > 0.9 * len(rows)
    for k, name in enumerate(OUTCOMES):
        p = np.array([said(opinions[i])[name] for i in judged])
        y = made.targets[k, [rows[i] for i in judged]].astype(float)
        assert auroc(y, p) > 0.75
        assert abs(p.mean() - y.mean()) < 0.12
    spoke = opinions[judged[0]]
    assert all(finding.calibrated for finding in spoke.findings) and not spoke.exclusive


def test_it_keeps_the_protocol_and_its_card_says_what_it_was_referenced_on(made: Made, risk: PolygenicRisk) -> None:
    assert isinstance(risk, Specialist)
    card = registry.read_card(made.room / NAME / "card.json")
    assert card == risk.card and card.modalities == ()
    assert "people drawn by lot" in card.summary and any("other ancestries" in use for use in card.not_for)
    assert [code.meaning for code in card.concepts] == list(OUTCOMES)
    by_name = {score.metric: score for score in card.scores}
    assert by_name["AUROC"].n == 300 and by_name["AUROC"].low <= by_name["AUROC"].value <= by_name["AUROC"].high
    assert {"AUROC angina", "AUROC gout", "ECE"} <= set(by_name)


def test_the_registry_finds_it_by_its_folder(made: Made, home: Path) -> None:
    shutil.copytree(made.room / NAME, home / "specialists" / NAME)
    member = registry.get("specialists", NAME)
    assert member.origin == "trained here"
    assert isinstance(member.load(encoder=None), PolygenicRisk)


def test_alone_or_in_a_batch_the_percentiles_are_the_same(made: Made, risk: PolygenicRisk) -> None:
    index = np.arange(1200, 1260)
    batch = risk.table.standings(open_genotypes(made.genotypes), index, "GRCh38")
    for i in (1200, 1230, 1259):
        alone = risk.table.standings(InMemory(person(made, risk, i)))
        assert np.abs(alone.percentiles[0] - batch.percentiles[i - 1200]).max() < 1e-9
        assert alone.foreignness[0] == pytest.approx(batch.foreignness[i - 1200], abs=1e-9)


def test_the_score_is_the_weighted_sum_with_missing_calls_at_the_panels_mean(made: Made, risk: PolygenicRisk) -> None:
    reference = made.split == "reference"
    counts = made.cohort.counts
    known = counts >= 0
    in_reference = known & reference
    frequency = np.where(in_reference, counts, 0).sum(axis=1) / (2 * in_reference.sum(axis=1))
    dosage = np.where(known, counts, 2 * frequency[:, None])
    sums = made.weights.reshape(-1, len(counts)) @ dosage
    # The files count the reference allele of every other variant, at minus the weight.
    by_ref = (np.arange(len(counts))[None] + np.arange(TRAITS)[:, None]) % 2 == 0
    sums -= 2 * (made.weights * by_ref[:, None]).sum(axis=2).reshape(-1, 1)
    components = (risk.table.loadings @ (dosage - 2 * frequency[:, None])).T
    found = risk.table.standings(open_genotypes(made.genotypes), build="GRCh38").percentiles.reshape(PEOPLE, -1)
    for k, key in enumerate(risk.table.keys):
        expected = risk.table.reference.standing(key, sums[k], components).adjusted_percentile
        assert np.abs(found[:, k] - expected).max() < 1e-8
    assert np.corrcoef(found[:, 2], sums[2])[0, 1] > 0.9


def test_where_nothing_can_be_judged_it_abstains_with_the_reason(made: Made, risk: PolygenicRisk) -> None:
    genome = person(made, risk, 1250)
    two = replace(genome, samples=("a", "b"), dosages=np.repeat(genome.dosages, 2, axis=0))
    few = replace(genome, variants=genome.variants[::3], dosages=genome.dosages[:, ::3])
    calls = np.where(np.arange(len(genome.variants)) % 2, genome.dosages, np.nan)
    for changed, reason in (
        (case(None), "no genome"),
        (case(two), "2 people"),
        (case(genome, ""), "needs age and sex"),
        (case(genome, "A man."), "needs age"),
        (case(genome, "A 61-year-old."), "needs sex"),
        (case(genome, "A 12-year-old girl."), "not of 12"),
        (case(replace(genome, build="GRCh37")), "GRCh37"),
        (case(few), "33%"),
        (case(seal(genome)), "the genome has 0%"),
        (case(replace(genome, dosages=calls)), "75% are needed"),
    ):
        opinion = risk.examine(changed)
        assert opinion.findings == () and reason in (opinion.abstained or ""), reason
        assert (opinion.specialist, opinion.version, opinion.reliability) == (NAME, risk.card.version, risk.card.scores)


def test_of_another_ancestry_it_abstains_and_says_how_foreign(made: Made, risk: PolygenicRisk) -> None:
    genome = person(made, risk, 1250)
    other = np.random.default_rng(5).binomial(2, 0.5, genome.dosages.shape).astype(np.float32)
    opinion = risk.examine(case(replace(genome, dosages=other)))
    assert "ancestry is unlike" in (opinion.abstained or "") and (opinion.foreignness or 0) > 1.5


def test_a_score_with_few_variants_counts_as_the_median_and_is_told(made: Made, risk: PolygenicRisk) -> None:
    genome = person(made, risk, 1250)
    used = {int(key) & 0xFFFFFFFF for key, w in zip(risk.table.panel.key, risk.table.weights[0], strict=True) if w}
    places = [int(name.split(":")[1]) for name in genome.variants]
    hidden = np.isin(places, sorted(used)[: int(0.4 * len(used))])
    opinion = risk.examine(case(replace(genome, dosages=np.where(hidden, np.nan, genome.dosages))))
    assert opinion.abstained is None and "of 15 scores have too few variants" in opinion.caution


def test_age_and_sex_may_be_arguments_and_wrong_ones_are_refused(made: Made, risk: PolygenicRisk) -> None:
    genome = person(made, risk, 1250)
    told = risk.examine(case(genome, ""), {"age": 58, "sex": "female"})
    assert said(told) == said(risk.examine(case(genome)))
    assert said(risk.examine(case(genome), {"age": "68"})) != said(told)
    for wrong in ({"age": "old"}, {"sex": "x"}, {"age": 400}):
        with pytest.raises(UsageError):
            risk.examine(case(genome), wrong)


def test_the_other_strand_and_swapped_alleles_give_the_same_answer(made: Made, risk: PolygenicRisk) -> None:
    genome = person(made, risk, 1250)
    turn = dict(zip("ACGT", "TGCA", strict=True))
    names, dosages = [], genome.dosages.copy()
    for i, name in enumerate(genome.variants):
        chromosome, position, ref, alt = name.split(":")
        if i % 2:
            ref, alt, dosages[0, i] = alt, ref, 2 - dosages[0, i]
        if i % 3 == 0:
            ref, alt = turn[ref], turn[alt]
        names.append(f"chr{chromosome}:{position}:{ref}:{alt}")
    changed = said(risk.examine(case(replace(genome, variants=tuple(names), dosages=dosages))))
    assert changed == pytest.approx(said(risk.examine(case(genome))))


def test_the_picture_goes_to_a_generalist_with_the_demographics(made: Made, risk: PolygenicRisk) -> None:
    genome = person(made, risk, 1250)
    reading = risk.reading(case(genome, "A 58-year-old woman."), "angina")
    assert reading.options == ("yes", "no") and "angina" in reading.question
    assert reading.history == "Age: 58 years. Sex: female." and reading.genome is None
    (study,) = reading.studies
    x = polygenic_risk.values(study.images[0], risk.layout)  # type: ignore[arg-type]
    p = risk.head.probabilities(x[None], risk.head.terms(np.array([58.0]), ["female"]))[0]
    assert dict(zip(OUTCOMES, map(float, p), strict=True)) == said(risk.examine(case(genome)))
    for broken in (case(None), case(genome, ""), case(replace(genome, dosages=np.full_like(genome.dosages, np.nan)))):
        with pytest.raises(UsageError):
            risk.reading(broken, "angina")


def test_a_genome_that_is_not_named_by_place_is_broken(made: Made, risk: PolygenicRisk) -> None:
    genome = Genome(("person",), ("rs1", "rs2"), np.zeros((1, 2), np.int8), "GRCh38")
    with pytest.raises(GenotypeError, match="variant 1 of 2"):
        risk.examine(case(genome))


def test_reading_a_genome_asks_for_the_person_and_the_build(made: Made, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1500 people, and no person is named"):
        read_genome(made.genotypes, build="GRCh38")
    with pytest.raises(UsageError, match="there 0 times") as told:
        read_genome(made.genotypes, person="Jane Doe", build="GRCh38")
    assert "Jane" not in str(told.value)
    with pytest.raises(BuildError, match="not stated"):
        read_genome(made.genotypes, person="P3")
    alone = Cohort(made.cohort.counts[:, 7:8], made.cohort.sites)
    header = "##contig=<ID=22,length=50818468>"
    genome = read_genome(alone.write_vcf(tmp_path, header))
    assert (genome.samples, genome.build, len(genome.variants)) == (("person",), "GRCh38", len(alone.sites))
    expected = np.where(alone.counts[:, 0] < 0, np.nan, alone.counts[:, 0]).astype(np.float32)
    assert np.array_equal(genome.dosages[0], expected, equal_nan=True)
    with pytest.raises(BuildError, match="GRCh38"):
        read_genome(tmp_path / "g.vcf", build="GRCh37")


@pytest.mark.parametrize("damage", ["layout", "head", "traits", "scores", "bars"])
def test_a_damaged_folder_is_told(damage: str, made: Made, tmp_path: Path) -> None:
    folder = tmp_path / NAME
    shutil.copytree(made.room / NAME, folder)
    if damage == "layout":
        (folder / "layout.json").write_text("{}")
    elif damage == "head":
        (folder / "head.safetensors").write_bytes(b"xx")
    elif damage == "traits":
        told = json.loads((folder / "layout.json").read_text())
        told["layout"]["traits"] = told["layout"]["traits"][::-1]
        (folder / "layout.json").write_text(json.dumps(told))
    elif damage == "scores":
        (folder / f"scores/trait{TRAITS - 1}.tsv").rename(folder / "scores/other.tsv")
    else:
        path = folder / "scores/trait0.tsv"
        path.write_text(path.read_text().replace("p0.3", "p0.4"))
    with pytest.raises((MemberError, DataError)):
        polygenic_risk.load(folder)


def test_a_foreign_cohort_is_mostly_refused(made: Made, risk: PolygenicRisk, tmp_path: Path) -> None:
    other = draw(40, len(made.cohort.sites), seed=99)
    foreign = Cohort(other.counts, made.cohort.sites)
    path = foreign.write_bed(tmp_path, "foreign")
    opinions = [risk.examine(case(read_genome(path, risk.table.wanted(), f"P{i}", "GRCh38"))) for i in range(0, 40, 4)]
    assert sum("ancestry" in (opinion.abstained or "") for opinion in opinions) >= 9


def test_without_the_variants_that_tell_ancestry_it_abstains(made: Made, risk: PolygenicRisk) -> None:
    genome = person(made, risk, 1250)
    loaded = {int(key) & 0xFFFFFFFF for key in risk.table.panel.key[risk.table.loaded]}
    places = np.array([int(name.split(":")[1]) for name in genome.variants])
    hidden = np.isin(places, sorted(loaded)[: int(0.4 * len(loaded))])
    stands = risk.table.standings(InMemory(replace(genome, dosages=np.where(hidden, np.nan, genome.dosages))))
    assert stands.ancestry[0] == pytest.approx(0.6, abs=0.03)
    whole = risk.table.standings(InMemory(genome))
    assert "60% of the variants that tell ancestry" in risk._why_not(replace(whole, ancestry=np.array([0.6])))


def test_of_a_sex_that_it_never_learnt_from_it_abstains(made: Made, risk: PolygenicRisk) -> None:
    assert risk.sexes == ("female", "male")
    men = replace(risk, sexes=("male",))
    opinion = men.examine(case(person(made, risk, 1250)))
    assert opinion.abstained == "it learnt from male people alone"


def test_other_weights_under_the_old_names_are_noticed(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / NAME
    shutil.copytree(made.room / NAME, folder)
    path = sorted((folder / "scores").glob("*.tsv"))[0]
    *head, last = path.read_text().splitlines()
    cells = last.split("\t")
    path.write_text("\n".join([*head, "\t".join([*cells[:-1], "0.4711"])]) + "\n")
    with pytest.raises(DataError, match="knows it with other weights"):
        polygenic_risk.load(folder)
