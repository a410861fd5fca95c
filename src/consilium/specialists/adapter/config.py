"""The configuration of a MONAI bundle, read without running it.

MONAI's own ConfigParser evaluates every text that begins with "$" as Python. A bundle comes from somebody else, so here such
a text is a formula of a small language: references, numbers, lists, comparisons, names of types, calls of a few pure functions
and of what `components` may build. Whatever else it holds is refused.
"""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consilium.errors import MemberError

OPEN = ("monai.networks.", "monai.transforms.", "monai.inferers.", "torch.nn.")
_REFERENCE = re.compile(r"@\w+(?:(?:::|#)\w+)*")
_MOST, _DEEPEST = 10_000, 60
_MISSING = object()
_OPERATORS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_SIGNS: Mapping[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_}
_PURE: Mapping[str, Callable[..., Any]] = {
    each.__name__: each for each in (abs, bool, float, int, len, list, max, min, round, set, sorted, str, sum, tuple)
}
_TYPES = frozenset(
    ("float16", "float32", "float64", "float", "int8", "int16", "int32", "int64", "uint8", "long", "bool")
)


@dataclass(frozen=True)
class Config:
    """What a bundle's files say: `value(key)` is plain data, a component a dict with `_target_` and plain arguments."""

    data: Mapping[str, Any]
    where: str

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def value(self, key: str) -> Any:
        """What stands at `key` (as a::b or a#b), all references resolved. MemberError where it is missing, refers to itself or
        would run code."""
        return self._plain(self._at(key), 0)

    def _at(self, key: str) -> Any:
        found: Any = self.data
        for part in re.split(r"::|#", key):
            inside: Any = _MISSING
            if isinstance(found, Mapping):
                inside = found.get(part, _MISSING)
            elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
                inside = found[int(part)]
            if inside is _MISSING:
                raise MemberError(
                    f"{self.where} refers to {key!r}, which it does not hold. The bundle is not whole: copy it again."
                )
            found = inside
        return found

    def _plain(self, value: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            raise MemberError(f"{self.where} refers to itself. Correct the bundle.")
        if isinstance(value, Mapping):
            return {name: self._plain(inner, depth + 1) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._plain(inner, depth + 1) for inner in value]
        if not isinstance(value, str):
            return value
        if value.startswith("%"):
            raise MemberError(
                f"{self.where} copies from {value!r}: a bundle that includes other files is not read. Write it out."
            )
        if value.startswith("$"):
            return self._formula(value[1:].strip(), depth)
        return self._plain(self._at(value[1:]), depth + 1) if _REFERENCE.fullmatch(value) else value

    def _formula(self, text: str, depth: int) -> Any:
        names: dict[str, str] = {}

        def placed(match: re.Match[str]) -> str:
            name = f"reference{len(names)}"
            names[name] = match.group()[1:]
            return name

        try:
            tree = ast.parse(_REFERENCE.sub(placed, text), mode="eval")
        except SyntaxError as error:
            raise self._refusal(text) from error
        return _Reader(self, names, text, depth).read(tree.body)

    def _refusal(self, text: str) -> MemberError:
        return MemberError(
            f"{self.where} holds {text[:120]!r}, which would run code of the bundle. Only parts of {', '.join(OPEN)} are built "
            "and simple formulas are read; leave the step out ([bundle] leave_out in card.toml) or write it as plain values."
        )


@dataclass(frozen=True)
class _Reader:
    config: Config
    names: Mapping[str, str]
    text: str
    depth: int

    def read(self, node: ast.AST) -> Any:
        take = getattr(self, f"_{type(node).__name__.lower()}", None)
        if take is None:
            raise self.config._refusal(self.text)
        return take(node)

    def _constant(self, node: ast.Constant) -> Any:
        return node.value

    def _name(self, node: ast.Name) -> Any:
        if node.id not in self.names:
            raise self.config._refusal(self.text)
        return self.config._plain(self.config._at(self.names[node.id]), self.depth + 1)

    def _list(self, node: ast.List) -> list[Any]:
        return [self.read(each) for each in node.elts]

    def _tuple(self, node: ast.Tuple) -> list[Any]:
        return [self.read(each) for each in node.elts]

    def _dict(self, node: ast.Dict) -> dict[Any, Any]:
        if any(key is None for key in node.keys):
            raise self.config._refusal(self.text)
        return {self.read(k): self.read(v) for k, v in zip(node.keys, node.values, strict=True) if k is not None}

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        sign = _SIGNS.get(type(node.op))
        if sign is None:
            raise self.config._refusal(self.text)
        return self._done(lambda: sign(self.read(node.operand)))

    def _binop(self, node: ast.BinOp) -> Any:
        left, right, how = self.read(node.left), self.read(node.right), _OPERATORS.get(type(node.op))
        numbers = all(isinstance(each, int | float) for each in (left, right))
        if how is None or not (numbers or isinstance(node.op, ast.Add)):
            raise self.config._refusal(self.text)
        return self._done(lambda: how(left, right))

    def _compare(self, node: ast.Compare) -> Any:
        how = _OPERATORS.get(type(node.ops[0]))
        if how is None or len(node.ops) > 1:
            raise self.config._refusal(self.text)
        return self._done(lambda: how(self.read(node.left), self.read(node.comparators[0])))

    def _boolop(self, node: ast.BoolOp) -> Any:
        values = [self.read(each) for each in node.values]
        return all(values) if isinstance(node.op, ast.And) else any(values)

    def _ifexp(self, node: ast.IfExp) -> Any:
        return self.read(node.body) if self.read(node.test) else self.read(node.orelse)

    def _subscript(self, node: ast.Subscript) -> Any:
        held, place = self.read(node.value), self.read(node.slice)
        return self._done(lambda: held[place])

    def _attribute(self, node: ast.Attribute) -> Any:
        root, _, name = ast.unparse(node).rpartition(".")
        if root in ("torch", "np", "numpy") and name in _TYPES:
            return _type(root, name)
        raise self.config._refusal(self.text)

    def _call(self, node: ast.Call) -> Any:
        called = ast.unparse(node.func)
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("to", "eval"):
            return self.read(node.func.value)
        if called in ("torch.device", "torch.cuda.is_available"):
            return "cpu" if called == "torch.device" else False
        arguments = [self.read(each) for each in node.args]
        if called == "range" and not node.keywords:
            return self._done(lambda: _counted(arguments))
        if called in _PURE and not node.keywords:
            return self._done(lambda: _PURE[called](*arguments))
        named = {each.arg: self.read(each.value) for each in node.keywords if each.arg}
        if called.startswith(OPEN) and not arguments and len(named) == len(node.keywords):
            return {"_target_": called} | named
        raise self.config._refusal(self.text)

    def _done(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise MemberError(
                f"{self.config.where} holds {self.text[:120]!r}, which cannot be worked out: {error}."
            ) from error


def _counted(arguments: Sequence[Any]) -> list[int]:
    counted = range(*arguments)
    if len(counted) > _MOST:
        raise ValueError(f"a range of {len(counted)} numbers")
    return list(counted)


def _type(root: str, name: str) -> Any:
    if root == "torch":
        import torch

        return getattr(torch, name)
    import numpy

    return getattr(numpy, name)


def read(folder: Path) -> Config:
    """configs/inference.json or .yaml of a bundle; MemberError where there is none or it is not a table."""
    for name in ("inference.json", "inference.yaml", "inference.yml"):
        path = folder / "configs" / name
        if path.is_file():
            return Config(_parsed(path), str(path))
    raise MemberError(
        f"{folder} has no configs/inference.json or .yaml: it is no MONAI bundle that can be asked. Give its folder."
    )


def metadata(folder: Path) -> dict[str, Any]:
    """configs/metadata.json; MemberError where it is missing or damaged."""
    return _parsed(folder / "configs" / "metadata.json")


def _parsed(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else _yaml(text)
    except OSError as error:
        raise MemberError(f"{path} cannot be read ({error.strerror}). Give the folder of a MONAI bundle.") from error
    except ValueError as error:
        raise MemberError(f"{path} is damaged: {error}. Copy the bundle again.") from error
    if not isinstance(found, dict):
        raise MemberError(f"{path} is not a table of names and values. Copy the bundle again.")
    return found


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MemberError(
            "a bundle in YAML needs PyYAML. Install it: pip install pyyaml, or write the configuration as JSON."
        ) from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
