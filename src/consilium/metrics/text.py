"""Figures of written answers, as papers on visual question answering use them: exact match, closed accuracy, token-F1.

Words are normalised as SQuAD's scorer does it (Rajpurkar et al. 2016): lower case, no punctuation, no articles, one space
between words. "X-ray" becomes "xray": what a matcher forgives decides the figure, so this one forgives what the published
figures forgave, and nothing else ("left" is not "left side").
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """`text` in lower case, without punctuation and English articles, its words one space apart."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(reference: str, said: str) -> float:
    """1 where both normalise to the same words, else 0."""
    return float(normalised(reference) == normalised(said))


def token_f1(reference: str, said: str) -> float:
    """F1 in [0, 1] of the words of `said` against those of `reference`, counted as bags. Where either has no word left: 1 if
    neither has one, else 0."""
    return _f1(*_bags(reference, said))


def token_recall(reference: str, said: str) -> float:
    """Share in [0, 1] of the reference's words that were said: the "open recall" of LLaVA-Med. A long answer is not
    punished, so it means little beside a token-F1."""
    wanted, found = _bags(reference, said)
    if not wanted:
        return float(not found)
    return (wanted & found).total() / wanted.total()


def closed_accuracy(references: Sequence[str], said: Sequence[str]) -> float:
    """Share of closed questions answered with the reference's very words, after normalising; NaN without a question."""
    right = [exact_match(wanted, found) for wanted, found in zip(references, said, strict=True)]
    return sum(right) / len(right) if right else float("nan")


def _bags(reference: str, said: str) -> tuple[Counter[str], Counter[str]]:
    return Counter(normalised(reference).split()), Counter(normalised(said).split())


def _f1(wanted: Counter[str], found: Counter[str]) -> float:
    if not wanted or not found:
        return float(wanted == found)
    return 2 * (wanted & found).total() / (wanted.total() + found.total())
