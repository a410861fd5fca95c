"""A small cohort written in every format, a plain float64 reference of its scores, and plink2 to compare with."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from consilium.types import Array

PLINK2 = shutil.which("plink2")
PLINK1 = shutil.which("plink1.9")
needs_plink2 = pytest.mark.skipif(PLINK2 is None, reason="needs plink2 (Debian's package), which is not installed")
needs_plink1 = pytest.mark.skipif(PLINK1 is None, reason="needs plink1.9 (Debian's package), which is not installed")

PAIRS = (("A", "G"), ("C", "T"), ("A", "C"), ("G", "T"))
MISSING = -9


@dataclass
class Cohort:
    """counts (variants, people) of the alternate allele, -9 where missing; sites (chromosome, position, id, ref, alt)."""

    counts: Array
    sites: list[tuple[str, int, str, str, str]]
    weights: Array = field(default_factory=lambda: np.empty(0))

    @property
    def people(self) -> int:
        return self.counts.shape[1]

    def write_bed(self, folder: Path, name: str = "g") -> Path:
        code = np.array([3, 2, 0, 1], np.uint8)[np.where(self.counts < 0, 3, self.counts)]
        code = np.pad(code, ((0, 0), (0, -self.people % 4))).reshape(len(code), -1, 4)
        packed = code[..., 0] | code[..., 1] << 2 | code[..., 2] << 4 | code[..., 3] << 6
        (folder / f"{name}.bed").write_bytes(b"\x6c\x1b\x01" + packed.astype(np.uint8).tobytes())
        bim = [f"{c}\t{i}\t0\t{p}\t{alt}\t{ref}\n" for c, p, i, ref, alt in self.sites]
        (folder / f"{name}.bim").write_text("".join(bim))
        (folder / f"{name}.fam").write_text("".join(f"F{i} P{i} 0 0 0 -9\n" for i in range(self.people)))
        return folder / f"{name}.bed"

    def write_vcf(self, folder: Path, header: str = "", name: str = "g.vcf") -> Path:
        text = np.array(["0/0", "0/1", "1/1", "./."])[np.where(self.counts < 0, 3, self.counts)]
        lines = ["##fileformat=VCFv4.2", *header.splitlines(), '##FORMAT=<ID=GT,Number=1,Type=String,Description="x">']
        ids = "\t".join(f"P{i}" for i in range(self.people))
        lines.append(f"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t{ids}")
        for (c, p, i, ref, alt), row in zip(self.sites, text, strict=True):
            lines.append(f"{c}\t{p}\t{i}\t{ref}\t{alt}\t.\t.\t.\tGT\t" + "\t".join(row))
        (folder / name).write_text("\n".join(lines) + "\n")
        return folder / name

    def write_scores(self, path: Path, weights: Array, effect_is_alt: Array) -> Path:
        """A plink table (id, allele, weights (variants, scores)) with a header."""
        lines = ["ID\tA1\t" + "\t".join(f"S{k}" for k in range(weights.shape[1]))]
        for (_, _, i, ref, alt), row, is_alt in zip(self.sites, weights, effect_is_alt, strict=True):
            lines.append(f"{i}\t{alt if is_alt else ref}\t" + "\t".join(repr(float(w)) for w in row))
        path.write_text("\n".join(lines) + "\n")
        return path

    def expected(self, weights: Array, effect_is_alt: Array) -> Array:
        """(scores, people) float64: missing calls at twice the allele's frequency in the cohort."""
        known = self.counts >= 0
        mean = np.where(known, self.counts, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        dosage = np.where(known, self.counts, mean[:, None]).astype(np.float64)
        return weights.T @ np.where(effect_is_alt[:, None], dosage, 2 - dosage)


def draw(people: int, variants: int, missing: float = 0.02, seed: int = 0, chromosome: str = "22") -> Cohort:
    random = np.random.default_rng(seed)
    frequency = random.uniform(0.05, 0.5, variants)
    counts = random.binomial(2, frequency[:, None], (variants, people)).astype(np.int8)
    counts[random.random(counts.shape) < missing] = MISSING
    pairs = random.integers(0, len(PAIRS), variants)
    sites = [(chromosome, 20_000_000 + 1000 * j, f"rs{j}", *PAIRS[pairs[j]]) for j in range(variants)]
    return Cohort(counts, sites)


def plink2(folder: Path, *words: str) -> None:
    assert PLINK2 is not None
    done = subprocess.run([PLINK2, *words, "--threads", "1"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def sscore(path: Path) -> dict[str, Array]:
    """The numeric columns of a .sscore, and how large half of the last printed digit is ("NAME ulp")."""
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    found: dict[str, Array] = {}
    for k, name in enumerate(lines[0]):
        if "ID" in name:
            continue
        texts = [line[k] for line in lines[1:]]
        found[name] = np.array([float(text) for text in texts])
        # plink2 prints six significant digits.
        size = np.abs(found[name])
        found[f"{name} half"] = 0.5 * 10.0 ** (np.floor(np.log10(np.where(size > 0, size, 1))) - 5) * 1.001
    return found
