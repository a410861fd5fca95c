"""A classifier in ONNX, run by onnxruntime on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consilium.errors import MemberError, extra
from consilium.types import Array

_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """A session, the name and type of its input and the name of the output that holds the scores."""

    session: Any
    entry: str
    dtype: Any
    output: str
    file: Path

    @property
    def shape(self) -> tuple[Any, ...]:
        """Of its input, as the file declares it: numbers, and names or None for what is open."""
        return tuple(self.session.get_inputs()[0].shape)

    def scores(self, batch: Array) -> Array:
        """(n, ...) -> (n, c): one run a picture, since many models take no other batch. MemberError where the model takes
        nothing of this shape."""
        try:
            parts = [self.session.run([self.output], {self.entry: one[None].astype(self.dtype)})[0] for one in batch]
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise MemberError(
                f"{self.file} does not take an input of shape {(1, *batch.shape[1:])}: {str(error).splitlines()[0][:200]}. "
                "Correct [input] of its card."
            ) from error
        return np.stack([np.ravel(part) for part in parts])


def load(file: Path, output: str = "") -> OnnxModel:
    """The model in `file`. `output` names the scores where there are several outputs; else the only one of floats is taken.

    MemberError where onnxruntime is not installed, the file is none that it can run, or which output to take is not clear.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MemberError(f"an ONNX model needs onnxruntime. Install it: {extra('onnx')}.") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base of their own
        raise MemberError(
            f"{file} cannot be run: {str(error).splitlines()[0][:200]}. Export the model again."
        ) from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in _TYPES:
        found = ", ".join(f"{each.name} {each.type}" for each in inputs)
        raise MemberError(f"{file} takes {found}; a model of one input of floats is needed. Export it so.")
    return OnnxModel(session, inputs[0].name, _TYPES[inputs[0].type], _output(session, output, file), file)


def _output(session: Any, wanted: str, file: Path) -> str:
    known = {each.name: each.type for each in session.get_outputs()}
    floats = [name for name, kind in known.items() if kind in _TYPES]
    if wanted in floats:
        return wanted
    if not wanted and len(floats) == 1:
        return floats[0]
    listed = ", ".join(f"{name} {kind}" for name, kind in known.items())
    advice = "Name one of floats as `name` under [output] of its card"
    if any(kind.startswith("seq") for kind in known.values()):
        advice += "; a classifier of skl2onnx is to be converted with options={'zipmap': False}"
    raise MemberError(f"{file} gives {listed}, the card names {wanted or 'none'}. {advice}.")
