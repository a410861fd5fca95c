"""The simulated cohort of the polygenic study: coalescent haplotypes, traits, association studies, scores. Not a command itself.

msprime (GPL) draws the haplotypes; nothing that is shipped imports it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from consilium.genomics import risk_image
from consilium.train import polygenic_simulate as sim
from consilium.types import Array

BARS = (1e-4, 1e-2, 0.3)
BAR_NAMES = ("p1e-4", "p0.01", "p0.3")
LEAST_FREQUENCY = 0.05
CLUMP_R2, CLUMP_KB = 0.1, 250
LINKAGE_PEOPLE = 1000


@dataclass(frozen=True)
class Sizes:
    """People of each part, and the genome: `segments` unlinked stretches of `kb` kilobases."""

    gwas: int = 8000
    reference: int = 1000
    train: int = 9000
    test: int = 5000
    segments: int = 22
    kb: int = 300
    most_variants: int = 6600

    @property
    def people(self) -> int:
        return self.gwas + self.reference + self.train + self.test


@dataclass(frozen=True, eq=False)
class Cohort:
    """counts (V, n) int8 of the derived allele; names chromosome:position:reference:alternate; parts name -> slice of people;
    trait_z (V, traits) of the association studies; weights (traits * 3, V) of standardised genotypes, the scores' spread among
    the reference people (traits * 3,), percentiles (n, traits, 3)."""

    counts: Array
    names: tuple[str, ...]
    frequency: Array
    people: sim.People
    parts: dict[str, slice]
    told: sim.Assumptions
    seed: int
    linked: tuple[Array, Array]
    trait_z: Array
    weights: Array
    spread: Array
    percentiles: Array

    @property
    def pictures(self) -> Array:
        """(n, traits, 3) what is read back from the 8-bit pictures, as normal scores."""
        return risk_image.normal_scores(risk_image.middle(risk_image.levels(self.percentiles)))


def draw_haplotypes(sizes: Sizes, seed: int) -> tuple[Array, list[str]]:
    """(V, people) int8 counts of common variants, and their names. Ne 10,000, mutation 1.25e-8, recombination 1e-8 a base."""
    import msprime

    most = sizes.most_variants // sizes.segments
    found, names = [], []
    random = np.random.default_rng(seed)
    for segment in range(sizes.segments):
        trees = msprime.sim_ancestry(
            sizes.people, sequence_length=1000 * sizes.kb, recombination_rate=1e-8, population_size=10_000,
            random_seed=1000 * seed + segment + 1,
        )  # fmt: skip
        trees = msprime.sim_mutations(
            trees, rate=1.25e-8, random_seed=1000 * seed + segment + 1, model=msprime.BinaryMutationModel()
        )
        rows, places = _common(trees)
        kept = np.sort(random.permutation(len(rows))[:most])
        kept = kept[np.unique(places[kept], return_index=True)[1]]
        found.append(rows[kept])
        names += [f"{segment + 1}:{places[i] + 1}:A:G" for i in kept]
    return np.concatenate(found), names


def _common(trees: Any) -> tuple[Array, Array]:
    """(sites, people) int8 counts and (sites,) positions of a tree sequence's common variants that mutated once."""
    samples = trees.num_samples
    rare = []
    for tree in trees.trees():
        for site in tree.sites():
            carriers = tree.num_samples(site.mutations[0].node)
            if len(site.mutations) > 1 or not LEAST_FREQUENCY <= carriers / samples <= 1 - LEAST_FREQUENCY:
                rare.append(site.id)
    trees = trees.delete_sites(rare)
    haplotypes = trees.genotype_matrix().astype(np.int8)
    return haplotypes[:, 0::2] + haplotypes[:, 1::2], np.asarray(trees.sites_position, np.int64)


def make(sizes: Sizes, told: sim.Assumptions, seed: int, haplotypes: tuple[Array, list[str]] | None = None) -> Cohort:
    counts, names = haplotypes or draw_haplotypes(sizes, seed)
    # Seeds may share haplotypes: each deals people to the parts anew, and draws its own effects.
    counts = counts[:, np.random.default_rng(seed).permutation(counts.shape[1])]
    ends = np.cumsum([0, sizes.gwas, sizes.reference, sizes.train, sizes.test])
    parts = {
        n: slice(a, b) for n, a, b in zip(("gwas", "reference", "train", "test"), ends[:-1], ends[1:], strict=True)
    }
    gwas = counts[:, parts["gwas"]]
    frequency = gwas.mean(axis=1) / 2
    people = sim.simulate_people(counts, frequency, told, seed)
    own = parts["gwas"]
    z = sim.associate(gwas, sim.simulate_traits(people, told, seed)[:, own], covariates(people)[:, own])
    linked = sim.linkage(gwas[:, :LINKAGE_PEOPLE], tuple(names), CLUMP_R2, CLUMP_KB)
    weights = sim.thresholded(z, linked, BARS)
    scores = sim.products(weights.reshape(-1, len(counts)), counts, frequency)
    spread = np.maximum(scores[:, parts["reference"]].std(axis=1), 1e-9)
    percentiles = among(scores, scores[:, parts["reference"]]).T.reshape(-1, told.traits, len(BARS))
    flat = weights.reshape(-1, len(counts))
    return Cohort(counts, tuple(names), frequency, people, parts, told, seed, linked, z, flat, spread, percentiles)


def covariates(people: sim.People) -> Array:
    return np.stack([people.age, people.sex])


def among(scores: Array, reference: Array) -> Array:
    """(s, n) scores -> percentiles of 0 to 100 among reference people (s, r)."""
    steps = np.linspace(0, 100, 1001)
    return np.stack(
        [np.interp(row, np.percentile(own, steps), steps) for row, own in zip(scores, reference, strict=True)]
    )
