"""Generalists: who writes the answer. One file each of `CARD` and `load(**options)`; siblings never import one another."""
