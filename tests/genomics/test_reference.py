"""Z, percentile and ancestry: a person alone is placed as in a batch, and ancestry no longer tells groups apart."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.genomics.cohort import Cohort

from consilium.errors import BuildError, DataError, OverlapError, ReadError, UsageError
from consilium.genomics.adjust import REFERENCE, make_reference, score_against
from consilium.genomics.alleles import Alleles
from consilium.genomics.frequency import count_frequencies, read_frequencies, write_frequencies
from consilium.genomics.genotypes import open_genotypes
from consilium.genomics.match import MatchPolicy
from consilium.genomics.reference import fit_reference, read_reference, write_reference
from consilium.genomics.run import Request
from consilium.types import Array

VARIANTS, EACH = 900, 160


def _two_groups(people: int, seed: int, missing: float = 0.01) -> tuple[Cohort, Array]:
    """People of two ancestries whose allele frequencies differ, so that every score differs between them by chance."""
    shared = np.random.default_rng(0)
    base = shared.uniform(0.15, 0.85, VARIANTS)
    shift = shared.normal(0, 0.08, VARIANTS)
    group = np.arange(people) % 2
    frequency = np.clip(base[:, None] + np.where(group == 1, 1, -1) * shift[:, None], 0.06, 0.94)
    random = np.random.default_rng(seed)
    counts = random.binomial(2, frequency).astype(np.int8)
    counts[random.random(counts.shape) < missing] = -9
    sites = [(str(1 + j % 22), 1_000_000 + 600_000 * (j // 22), f"rs{j}", "A", "G") for j in range(VARIANTS)]
    order = sorted(range(VARIANTS), key=lambda j: (int(sites[j][0]), sites[j][1]))
    return Cohort(counts[order], [sites[j] for j in order]), group


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    panel, _ = _two_groups(2 * EACH, seed=1)
    # Weights that lean to what differs, so that the score differs between the groups.
    lean = panel.counts[:, 1::2].mean(axis=1) - panel.counts[:, ::2].mean(axis=1)
    weights = np.random.default_rng(3).normal(0, 1, VARIANTS) + lean
    rows = [
        f"{c}\t{p}\t{alt}\t{ref}\t{w!r}\n" for (c, p, _, ref, alt), w in zip(panel.sites, weights.tolist(), strict=True)
    ]
    head = "#genome_build=GRCh37\n#pgs_id=PGS7\nchr_name\tchr_position\teffect_allele\tother_allele\teffect_weight\n"
    (folder / "s.txt").write_text(head + "".join(rows))
    request = Request(panel.write_bed(folder, "panel"), (folder / "s.txt",), build="GRCh37")
    make_reference(request, folder / "ref", "two groups", components=3)
    return folder


@pytest.fixture(scope="module")
def batch(made: Path) -> tuple[Path, Array]:
    people, group = _two_groups(300, seed=2)
    return people.write_bed(made, "batch"), group


def _request(made: Path, genotypes: Path) -> Request:
    return Request(genotypes, (made / "s.txt",), build="GRCh37")


def test_one_person_stands_alone_as_in_the_batch(made: Path, batch: tuple[Path, Array], tmp_path: Path) -> None:
    """pgsc_calc #333, #343, #495: results that change with who else is in the file."""
    request = _request(made, batch[0])
    _, whole = score_against(request, made / "ref")
    for person in (0, 7, 299):
        (tmp_path / "keep").write_text(f"P{person}\n")
        _, alone = score_against(replace(request, keep=tmp_path / "keep"), made / "ref")
        for name, columns in whole.items():
            for key, values in columns.items():
                assert abs(alone[name][key][0] - values[person]) <= 1e-9, (name, key)


def test_ancestry_is_taken_out(made: Path, batch: tuple[Path, Array]) -> None:
    genotypes, group = batch
    _, more = score_against(_request(made, genotypes), made / "ref")
    columns = more["PGS7"]
    apart = {key: abs(v[group == 0].mean() - v[group == 1].mean()) for key, v in columns.items()}
    assert apart["z"] > 1.0
    assert apart["znorm2"] < 0.3 and apart["znorm1"] < 0.3
    assert abs(columns["znorm2"].mean()) < 0.25 and 0.8 < columns["znorm2"].std() < 1.2
    assert 40 < columns["adjusted_percentile"].mean() < 60
    assert (
        abs(more[""]["PC1"][group == 0].mean() - more[""]["PC1"][group == 1].mean())
        > 3 * more[""]["PC1"][group == 0].std()
    )


def test_newcomers_lie_where_reference_people_do(made: Path, batch: tuple[Path, Array]) -> None:
    _, more = score_against(_request(made, batch[0]), made / "ref")
    assert np.mean(more[""]["foreignness"] > 1) < 0.06
    stranger, _ = _two_groups(60, seed=9)
    random = np.random.default_rng(5)
    stranger.counts[:] = random.binomial(2, random.uniform(0.05, 0.95, VARIANTS)[:, None], stranger.counts.shape)
    _, more = score_against(_request(made, stranger.write_bed(made, "stranger")), made / "ref")
    assert np.mean(more[""]["foreignness"] > 1) > 0.9


def test_absent_variants_count_as_the_panels_mean(made: Path, batch: tuple[Path, Array]) -> None:
    people, _ = _two_groups(300, seed=2)
    kept = [j for j in range(VARIANTS) if j % 6]
    part = Cohort(people.counts[kept], [people.sites[j] for j in kept])
    _, whole = score_against(_request(made, batch[0]), made / "ref")
    _, less = score_against(_request(made, part.write_bed(made, "part")), made / "ref")
    assert np.corrcoef(whole["PGS7"]["z"], less["PGS7"]["z"])[0, 1] > 0.85
    assert abs((whole["PGS7"]["z"] - less["PGS7"]["z"]).mean()) < 0.15


def test_another_score_or_build_is_refused(made: Path, batch: tuple[Path, Array], tmp_path: Path) -> None:
    other = tmp_path / "s.txt"
    other.write_text((made / "s.txt").read_text().replace("\tG\tA\t", "\tG\tA\t1", 1))
    request = _request(made, batch[0])
    with pytest.raises(UsageError, match=r"no score 'PGS7' with these weights; it knows PGS7"):
        score_against(replace(request, scores=(other,)), made / "ref")
    other.write_text((made / "s.txt").read_text().replace("GRCh37", "GRCh38"))
    with pytest.raises(BuildError, match="the reference two groups has positions of GRCh37"):
        score_against(replace(request, scores=(other,), build="GRCh38"), made / "ref")
    with pytest.raises(ReadError, match="is no reference"):
        score_against(request, tmp_path)
    with pytest.raises(UsageError, match="Leave out the other"):
        score_against(replace(request, frequencies=other), made / "ref")


def test_a_reference_reads_back_and_names_nobody(made: Path, tmp_path: Path) -> None:
    reference = read_reference(made / "ref" / REFERENCE)
    write_reference(tmp_path / "again.json", reference)
    assert read_reference(tmp_path / "again.json") == reference
    assert reference.people == EACH and reference.components == 3
    assert all("P1\t" not in path.read_text() for path in (made / "ref").iterdir())


def test_what_makes_no_reference() -> None:
    with pytest.raises(DataError, match="too few"):
        fit_reference("x", "GRCh37", {"s": np.arange(50.0)}, np.zeros((50, 0)))
    with pytest.raises(DataError, match="is the same for all"):
        fit_reference("x", "GRCh37", {"s": np.ones(200)}, np.zeros((200, 0)))


def test_without_components_percentiles_are_those_of_the_reference() -> None:
    values = np.random.default_rng(0).normal(5, 2, 4000)
    reference = fit_reference("x", "GRCh37", {"s": values}, np.zeros((4000, 0)))
    stands = reference.standing("s", np.array([5.0, 7.0, -100.0]), np.zeros((3, 0)))
    assert np.allclose(stands.z, stands.z_norm1) and np.allclose(stands.z[:2], [0, 1], atol=0.06)
    assert np.allclose(stands.percentile, [50, 84, 0], atol=2)


def test_variance_that_follows_ancestry_is_followed() -> None:
    random = np.random.default_rng(1)
    axis = random.normal(0, 1, 20000)
    values = 2 * axis + random.normal(0, 1, 20000) * np.exp(0.4 * axis)
    reference = fit_reference("x", "GRCh37", {"s": values}, axis[:, None])
    stands = reference.standing("s", values, axis[:, None])
    for part in (axis < -1, axis > 1):
        assert abs(stands.z_norm2[part].std() - 1) < 0.08
    assert abs(stands.z_norm1[axis > 1].std() - 1) > 0.5


def test_frequencies_are_counted_written_and_read(tmp_path: Path, files: tuple[Path, Path], cohort: Cohort) -> None:
    book, genotypes = Alleles(), open_genotypes(files[0])
    variants = genotypes.variants(book)
    counted = count_frequencies(genotypes, variants)
    known = cohort.counts >= 0
    assert np.allclose(counted, np.where(known, cohort.counts, 0).sum(axis=1) / (2 * known.sum(axis=1)), atol=1e-15)
    write_frequencies(tmp_path / "f.afreq", variants, book, counted)
    assert np.array_equal(read_frequencies(tmp_path / "f.afreq", variants, book, None), counted)


def test_what_cannot_tell_ancestry_is_refused(made: Path, tmp_path: Path) -> None:
    *head, names = (made / "s.txt").read_text().splitlines()[:3]
    lines = (made / "s.txt").read_text().splitlines()[3:]
    (tmp_path / "s.txt").write_text("\n".join([*head, names, *lines[::4]]) + "\n")
    panel, _ = _two_groups(2 * EACH, seed=1)
    request = Request(panel.write_bed(tmp_path, "panel"), (tmp_path / "s.txt",), build="GRCh37")
    make_reference(request, tmp_path / "ref", "two groups", components=3)
    cohort, _ = _two_groups(40, seed=5)
    few = Cohort(cohort.counts[::4], cohort.sites[::4]).write_bed(tmp_path, "few")
    with pytest.raises(OverlapError, match=r"of the variants by which the reference tells ancestry"):
        score_against(replace(request, genotypes=few), tmp_path / "ref")
    whole = cohort.write_bed(tmp_path, "whole")
    assert score_against(replace(request, genotypes=whole), tmp_path / "ref")[0].names == ("PGS7",)


def test_a_reference_that_cannot_be_made_leaves_the_old_one(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ref"
    shutil.copytree(made / "ref", folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    small, _ = _two_groups(120, seed=7)
    request = Request(small.write_bed(tmp_path, "small"), (made / "s.txt",), build="GRCh37")
    with pytest.raises(DataError, match="too few"):
        make_reference(request, folder, "small", components=3)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_variants_are_matched_as_when_the_reference_was_made(made: Path, tmp_path: Path) -> None:
    panel, _ = _two_groups(2 * EACH, seed=1)
    sites = [(c, p, i, "A", "T") if j % 3 else (c, p, i, a, b) for j, (c, p, i, a, b) in enumerate(panel.sites)]
    bed = Cohort(panel.counts, sites).write_bed(tmp_path, "panel")
    (tmp_path / "s.txt").write_text((made / "s.txt").read_text())
    lines = (made / "s.txt").read_text().splitlines()
    body = [line.split("\t") for line in lines[3:]]
    told = ["\t".join([r[0], r[1], "T" if j % 3 else r[2], r[3], r[4]]) for j, r in enumerate(body)]
    (tmp_path / "s.txt").write_text("\n".join([*lines[:3], *told]) + "\n")
    request = Request(bed, (tmp_path / "s.txt",), build="GRCh37")
    make_reference(replace(request, policy=MatchPolicy("keep")), tmp_path / "ref", "kept", components=0)
    _, more = score_against(request, tmp_path / "ref")
    assert abs(float(more["PGS7"]["z"].mean())) < 0.2 and 0.8 < float(more["PGS7"]["z"].std()) < 1.2
