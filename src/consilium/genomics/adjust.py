"""Scores against a reference: make one from a panel, and compare people with it, one by one or ten thousand at once.

Every variant that the panel lacks is left out, every variant that the genotypes lack, or a person has no call of, counts as the
panel's mean. So a person's Z depends on that person and the reference alone.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from consilium.errors import OverlapError, UsageError
from consilium.genomics import score_kinds
from consilium.genomics.alleles import Alleles
from consilium.genomics.ancestry import Components, fit_components
from consilium.genomics.build import demand_same
from consilium.genomics.frequency import count_frequencies, item_frequencies, write_frequencies
from consilium.genomics.genotypes import Variants
from consilium.genomics.match import CODE, Match, match
from consilium.genomics.panel_files import (
    COMPONENTS,
    FREQUENCIES,
    REFERENCE,
    Panel,
    read_loadings,
    read_panel,
    write_loadings,
)
from consilium.genomics.plan import plan
from consilium.genomics.plink import joined
from consilium.genomics.reference import Reference, fit_reference, read_reference, write_reference
from consilium.genomics.report import reports
from consilium.genomics.run import Matched, Request, Scored, match_files, refusal, take_variants
from consilium.genomics.score import ScoreWork, score
from consilium.genomics.scoring_file import ScoreTable
from consilium.types import Array

Progress = Callable[[int, int], None]


def make_reference(
    panel: Request, folder: Path, name: str, components: int = 10, progress: Progress | None = None
) -> Reference:
    """Make the reference of a panel's scores in `folder`. One half of the panel gives the components of ancestry, the other the
    distributions, so that reference people are placed as newcomers will be."""
    found = match_files(_strict(panel))
    if found.build is None:
        raise UsageError("the panel's build is not known. Say it with --build GRCh37 or GRCh38.")
    everyone = np.arange(len(found.genotypes.people)) if found.index is None else found.index
    drawn = np.random.default_rng(0).permutation(len(everyone))
    first, second = np.sort(everyone[drawn[::2]]), np.sort(everyone[drawn[1::2]])
    loadings = fit_components(found.genotypes, found.book, first, components) if components else None
    entries = np.unique(np.concatenate([one.entry[one.matched] for one in found.matches]))
    mask = np.zeros(len(found.variants), bool)
    mask[entries] = True
    scored = take_variants(found.variants, mask)
    variants = _union(scored, loadings)
    frequency = count_frequencies(found.genotypes, variants, everyone)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as made:
        # what was there stays until all of the new one is
        work = Path(made)
        write_frequencies(work / FREQUENCIES, variants, found.book, frequency)
        write_loadings(work / COMPONENTS, found.book, loadings)
        half = replace(found, index=second)
        done, axes, misfit = _sums(half, work, panel.min_overlap, progress, None)
        known = digests_of(found.matches, found.book)
        own = {f"{name} {known[name]}": sums for name, sums in zip(done.names, done.sums, strict=True)}
        reference = fit_reference(name, found.build, own, axes, misfit)
        reference = replace(reference, ambiguous=panel.policy.ambiguous, strand_flips=panel.policy.strand_flips)
        write_reference(work / REFERENCE, reference)
        if loadings is None:
            (folder / COMPONENTS).unlink(missing_ok=True)
        for path in sorted(work.iterdir()):
            path.replace(folder / path.name)
    return reference


def score_against(
    request: Request, folder: Path, progress: Progress | None = None, checkpoint: Path | None = None
) -> tuple[Scored, Mapping[str, Mapping[str, Array]]]:
    """Scores, and for each score's name z, percentile, znorm1, znorm2 and adjusted_percentile; for "" PC1 ... and foreignness
    (each (people,)). Raises UsageError where the reference has another score of that name, BuildError where its build differs."""
    if request.frequencies or request.absent_is_reference:
        raise UsageError(
            "--reference says what missing calls and absent variants count as. Leave out the other option."
        )
    reference = read_reference(folder / REFERENCE)
    found = match_files(served(request, reference))
    demand_same(found.build, reference.build, f"the reference {reference.name}")
    digests = digests_of(found.matches, found.book)
    unknown = [name for name, digest in digests.items() if f"{name} {digest}" not in reference.scores]
    if unknown:
        raise UsageError(
            f"the reference {reference.name} knows no score {unknown[0]!r} with these weights; it knows "
            f"{', '.join(key.rpartition(' ')[0] for key in list(reference.scores)[:10])}. Make one that does: "
            "`consilium genome reference`."
        )
    done, axes, misfit = _sums(found, folder, request.min_overlap, progress, checkpoint)
    more: dict[str, Mapping[str, Array]] = {}
    for name, sums in zip(done.names, done.sums, strict=True):
        stands = reference.standing(f"{name} {digests[name]}", sums, axes)
        more[name] = {
            "z": stands.z,
            "percentile": stands.percentile,
            "znorm1": stands.z_norm1,
            "znorm2": stands.z_norm2,
            "adjusted_percentile": stands.adjusted_percentile,
        }
    more[""] = {f"PC{k + 1}": axes[:, k] for k in range(axes.shape[1])}
    if misfit is not None:
        more[""] = {**more[""], "foreignness": reference.foreignness(axes, misfit)}
    return done, more


def served(request: Request, reference: Reference) -> Request:
    """The request as it is scored: variants are matched as they were when the reference was made."""
    policy = replace(request.policy, ambiguous=reference.ambiguous, strand_flips=reference.strand_flips)
    return _strict(replace(request, policy=policy))


def _strict(request: Request) -> Request:
    """Sites of several alleles are left out: what the others sum to is not in a file of frequencies."""
    return replace(request, policy=replace(request.policy, multiallelic="drop"), precision="float64")


def _sums(
    found: Matched, folder: Path, least: float, progress: Progress | None, checkpoint: Path | None
) -> tuple[Scored, Array, Array | None]:
    """Sums in float64 with the panel's frequencies, the principal components (people, components), and the misfit (people,) of
    Reference, None where there are no components."""
    panel = read_panel(folder, found.book)
    loadings = read_loadings(folder / COMPONENTS, found.book, found.build)
    variants = _with(found, loadings)
    alternate = np.full(len(variants), np.nan)
    matches, constants, filled = [], [], []
    for one in found.matches:
        kept, constant, copies = _against(one.table, variants, panel, found, alternate)
        matches.append(kept)
        constants.append(constant)
        filled.append(copies)
    made = reports(matches, least)
    chosen, at = [], 0
    for one in matches:
        own = made[at : at + len(one.table.names)]
        at += len(own)
        chosen.append(np.flatnonzero([not report.refused for report in own]))
    if not any(map(len, chosen)):
        raise OverlapError(refusal(made, least))
    constant = np.concatenate([c[s] for c, s in zip(constants, chosen, strict=True)])
    n_scores = len(constant)
    all_matches = list(matches)
    if loadings is not None:
        axis, centre, _ = _against(loadings, variants, panel, found, alternate, centred=True)
        off, expected, _ = _against(_deviations(loadings, panel, found), variants, panel, found, alternate)
        share = float(axis.matched.mean())
        if share < least:
            raise OverlapError(
                f"the genotypes have {share:.0%} of the variants by which the reference tells ancestry; {least:.0%} are needed. "
                "Impute them, make a reference with --components 0, or lower --min-overlap."
            )
        all_matches += [axis, off]
        chosen += [np.arange(len(loadings.names)), np.zeros(1, np.int64)]
        constant = np.concatenate([constant, centre, expected])
    work = plan(all_matches, variants, chosen)
    how = ScoreWork(item_frequencies(work, variants, alternate), "float64", progress, checkpoint)
    done = score(found.genotypes, work, found.index, how)
    sums = done.sums + constant[:, None]
    found = replace(found, matches=tuple(matches), reports=made, variants=variants)
    counted = work.denominators[:n_scores] + np.concatenate([c[s] for c, s in zip(filled, chosen, strict=False)])
    averages = sums[:n_scores] / np.maximum(counted, 1)[:, None]
    scored = Scored(found, work.names[:n_scores], sums[:n_scores], averages, done.filled, len(done.no_calls))
    if loadings is None:
        return scored, sums[n_scores:].T, None
    return scored, sums[n_scores:-1].T, sums[-1]


def _against(
    table: ScoreTable, variants: Variants, panel: Panel, found: Matched, alternate: Array, centred: bool = False
) -> tuple[Match, Array, Array]:
    """The match of what both the genotypes and the panel have, what is added to each sum, and of how many alleles that is.

    For scores that is the mean of what only the panel has, for components (`centred`) less the mean of what both have.
    `alternate` gets the panel's frequencies."""
    policy = replace(found.policy, multiallelic="drop")
    own, theirs = match(table, variants, found.book, policy), match(table, panel.variants, found.book, policy)
    frequency = panel.frequency[np.maximum(theirs.entry, 0)] if len(panel.frequency) else np.full(len(table), np.nan)
    frequency = np.where(theirs.effect_is_ref, 1 - frequency, frequency)
    in_panel = theirs.matched & np.isfinite(frequency)
    reason = np.where(own.matched & ~in_panel, CODE["not_in_reference"], own.reason).astype(np.uint8)
    kept = replace(own, reason=reason, entry=np.where(own.matched & in_panel, own.entry, -1))
    both = np.flatnonzero(kept.matched)
    alternate[kept.entry[both]] = np.where(kept.effect_is_ref[both], 1 - frequency[both], frequency[both])
    if centred:
        return kept, -(table.weights[:, both] @ (2 * frequency[both])), np.zeros(len(table.names))
    only = np.flatnonzero(in_panel & ~kept.matched)
    return kept, _means(table, only, frequency[only]), 2.0 * np.count_nonzero(table.weights[:, only], axis=1)


def _deviations(loadings: ScoreTable, panel: Panel, found: Matched) -> ScoreTable:
    """A score of the mean over variants of (copies - 2p)^2 / (2p (1-p)): 1 for a person of the panel's ancestry."""
    theirs = match(loadings, panel.variants, found.book, replace(found.policy, multiallelic="drop"))
    p = panel.frequency[theirs.entry][:, None]
    by_dosage = (np.arange(3) - 2 * p) ** 2 / (2 * p * (1 - p)) / len(loadings)
    kinds = np.full(len(loadings), score_kinds.DOSAGE, np.uint8)
    return replace(loadings, names=("misfit",), weights=np.ones((1, len(loadings))), kinds=kinds, by_dosage=by_dosage)


def _means(table: ScoreTable, rows: Array, frequency: Array) -> Array:
    """What rows contribute on average (scores,), in random mating."""
    weights, kinds = table.weights[:, rows], table.kinds[rows]
    carriers = 1 - (1 - frequency) ** 2
    copies = np.select(
        [kinds == score_kinds.DOMINANT, kinds == score_kinds.RECESSIVE], [carriers, frequency**2], 2 * frequency
    )
    total = weights * copies
    if table.by_dosage is not None:
        given = kinds == score_kinds.DOSAGE
        p = frequency[given]
        chances = np.stack([(1 - p) ** 2, 2 * p * (1 - p), p**2], axis=1)
        total[:, given] = (chances * table.by_dosage[rows[given]]).sum(axis=1)
    return total.sum(axis=1)


def _with(found: Matched, loadings: ScoreTable | None) -> Variants:
    """The variants that the scores were matched to, and those that the components need."""
    if loadings is None:
        return found.variants
    from consilium.genomics.genotypes import Wanted

    keys = np.unique(np.concatenate([loadings.key, found.variants.key]))
    return found.genotypes.variants(found.book, Wanted(keys[keys >= 0], found.variants.ids))


def _union(scored: Variants, loadings: Components | None) -> Variants:
    if loadings is None:
        return scored
    both = joined([scored, loadings.variants], scored.total)
    _, first = np.unique(both.row * 2**16 + both.allele, return_index=True)
    order = np.zeros(len(both), bool)
    order[first] = True
    one = take_variants(both, order)
    rank = np.argsort(one.row, kind="stable")
    import pyarrow

    arrays = {name: getattr(one, name)[rank] for name in ("row", "allele", "key", "ref", "alt", "several")}
    return replace(one, ids=one.ids.take(pyarrow.array(rank)), **arrays)


def digests_of(matches: Sequence[Match], book: Alleles) -> dict[str, str]:
    """Name of a score -> the digest of its variants and weights."""
    return {name: digest for one in matches for name, digest in table_digests(one.table, book).items()}


def table_digests(table: ScoreTable, book: Alleles) -> dict[str, str]:
    """A digest of each score's variants and weights, so that a reference is not used for another score of the same name."""
    head = hashlib.sha256(np.ascontiguousarray(table.key).tobytes())
    head.update("\t".join(book.texts(table.effect)).encode())
    made = {}
    for name, weights in zip(table.names, table.weights, strict=True):
        own = head.copy()
        own.update(np.ascontiguousarray(weights).tobytes())
        if table.by_dosage is not None:
            own.update(np.ascontiguousarray(table.by_dosage).tobytes())
        if np.any(table.kinds != score_kinds.ADDITIVE):
            own.update(np.ascontiguousarray(table.kinds).tobytes())
        made[name] = own.hexdigest()[:16]
    return made
