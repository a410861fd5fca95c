"""Genotypes and polygenic scores: files in, variants matched, scores out. Pure genetics: no pictures, no members."""
