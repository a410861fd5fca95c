"""From groups of the shards to trees of tokens, and from a list of trees to batches in a reproducible order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import commonprefix
from typing import Any

import torch

from consilium.errors import DataError
from consilium.nn.tree import Branch, Tree

Group = Mapping[str, Any]
# Groups whose lengths are sorted together: enough to pad little, few enough to keep the order random.
_POOL = 64


@dataclass(frozen=True)
class Example:
    """A tokenised group: `digests` of its pictures, `prefix` ids before them, `shared` ids after them, then `branches`."""

    id: str
    digests: tuple[str, ...]
    paths: tuple[str, ...]
    prefix: tuple[int, ...]
    branches: tuple[Branch, ...]
    shared: tuple[int, ...] = ()

    @property
    def text_tokens(self) -> int:
        return len(self.prefix) + len(self.shared) + sum(len(branch.ids) for branch in self.branches)


class Writer:
    """Writes groups as the served prompt is written: the pieces are tokenised apart, at the places where a control token
    or the start of an answer parts them anyway."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._end = tuple(tokenizer.encode("<|im_end|>", add_special_tokens=False))
        self.end = self._end[0]

    def example(self, group: Group, blind: bool = False) -> Example:
        """The tokens of a group. `blind`: without its pictures, for a model that only reads the question.

        Raises DataError where text spells a control token, or a branch does not alternate user and assistant.
        """
        pictures = [] if blind else group["images"]
        # The published format serves no system message at all.
        system = f"<|im_start|>system\n{self._plain(group, group['system'])}<|im_end|>\n" if group["system"] else ""
        head = f"{system}<|im_start|>user\n"
        shared = _shared_lines([branch["messages"][0][1] for branch in group["branches"]])
        lead = "\n" if pictures else ""
        branches = tuple(
            self._branch(group, branch, "" if shared else lead, len(shared)) for branch in group["branches"]
        )
        return Example(
            group["id"],
            tuple(picture["digest"] for picture in pictures),
            tuple(picture["path"] for picture in pictures),
            self._encode(head),
            branches,
            self._encode(lead + self._plain(group, shared)) if shared else (),
        )

    def question(self, group: Group, blind: bool = False) -> Example:
        """The first question of the group's first branch, up to where its answer begins."""
        whole = self.example({**group, "branches": group["branches"][:1]}, blind)
        (branch,) = whole.branches
        asked = branch.learnt.index(True)
        return replace(whole, branches=(Branch(branch.ids[:asked], branch.learnt[:asked]),))

    def _branch(self, group: Group, branch: Mapping[str, Any], lead: str, told: int) -> Branch:
        """`told`: characters of its first turn that stand before the branches, read once for all."""
        ids: list[int] = []
        learnt: list[bool] = []
        for turn, (role, text) in enumerate(branch["messages"]):
            if role != ("user", "assistant")[turn % 2]:
                raise DataError(f"group {group['id']}: turn {turn} is by {role!r}; user and assistant must alternate.")
            text = self._plain(group, text)
            if role == "user":
                begun = f"{lead}{text[told:]}" if turn == 0 else f"\n<|im_start|>user\n{text}"
                given = self._encode(f"{begun}<|im_end|>\n<|im_start|>assistant\n")
                ids += given
                learnt += [False] * len(given)
            else:
                said = (*self._encode(text), *self._end)
                ids += said
                learnt += [True] * len(said)
        if not any(learnt):
            raise DataError(f"group {group['id']} has a branch without an answer.")
        return Branch(tuple(ids), tuple(learnt))

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    @staticmethod
    def _plain(group: Group, text: str) -> str:
        if "<|" in text or "<image>" in text:
            raise DataError(f"group {group['id']} spells a control token in its text: {text[:60]!r}. Take it out.")
        return text


def _shared_lines(texts: Sequence[str]) -> str:
    """The whole lines with which all of several texts begin and go on with a word: line ends part tokens there."""
    if len(texts) < 2:
        return ""
    common = commonprefix(list(texts))  # noqa: RUF071 - character by character is meant
    common = common[: common.rfind("\n") + 1]
    return common if all(text[len(common) : len(common) + 1].strip() for text in texts) else ""


@dataclass(frozen=True)
class Order:
    """Which examples make which batch: a function of the seed and the epoch alone, so that a resumed run goes on with the
    very batch that the killed one would have taken.

    tokens  most tokens of a batch, padding included.
    shown   visual tokens shown of each picture.
    """

    tokens: int
    shown: int
    seed: int

    def batches(self, examples: Sequence[Example], epoch: int) -> list[list[int]]:
        """Indices by batch: shuffled, then gathered with neighbours of like length, then the batches shuffled."""
        draw = torch.Generator().manual_seed(self.seed * 1009 + epoch)
        shuffled = torch.randperm(len(examples), generator=draw).tolist()
        made: list[list[int]] = []
        for start in range(0, len(shuffled), _POOL):
            made += self._packed(
                examples, sorted(shuffled[start : start + _POOL], key=lambda i: self._length(examples[i]))
            )
        return [made[i] for i in torch.randperm(len(made), generator=draw).tolist()]

    def _packed(self, examples: Sequence[Example], by_length: Sequence[int]) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in by_length:
            if batch and self._length(examples[index]) * (len(batch) + 1) > self.tokens:
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    def _length(self, example: Example) -> int:
        return example.text_tokens + self.shown * len(example.digests)


def tree(example: Example, per_image: int, shown: int, draw: torch.Generator) -> Tree:
    """The example with [CLS] and `shown` - 1 random patches of each picture, in order; all of them where `shown` is
    `per_image` or more."""
    kept = tuple(_kept(per_image, shown, draw) for _ in example.digests)
    return Tree(example.prefix, kept, per_image, example.branches, example.shared)


def _kept(per_image: int, shown: int, draw: torch.Generator) -> torch.Tensor:
    if shown >= per_image:
        return torch.arange(per_image)
    patches = torch.randperm(per_image - 1, generator=draw)[: shown - 1].sort().values + 1
    return torch.cat([torch.zeros(1, dtype=torch.long), patches])
