"""Loads a checkpoint of the transformers library: safetensors only, no code from the checkpoint, nothing left random."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from consilium.errors import MemberError, UsageError, WeightsError, WeightsMissingError

Precision = Literal["auto", "bfloat16", "float16", "float32"]
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def pick_device(device: str = "auto") -> str:
    """`device` as torch names it; "auto" takes a CUDA accelerator where there is one, else the CPU.

    UsageError where torch knows no such device, or this machine has none: nothing falls back to the CPU unasked.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        named = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"there is no device {device!r}. Say auto, cpu, cuda or cuda:1.") from error
    if named.type == "cuda" and (named.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device {device} was asked for, and torch {torch.__version__} finds {torch.cuda.device_count()} of its kind here. "
            "Say cpu, or install a torch for your GPU."
        )
    return device


def pick_dtype(dtype: Precision = "auto", device: str = "cpu") -> torch.dtype:
    """`dtype` as torch has it; "auto" takes bfloat16 on an accelerator and on a CPU that multiplies in it, else float32.

    Such a CPU reads a prompt in half the time in bfloat16, and half the memory holds the weights.
    """
    if dtype != "auto":
        if dtype not in _DTYPES:
            raise UsageError(f"dtype is {dtype!r}; it is one of: auto, {', '.join(_DTYPES)}.")
        return _DTYPES[dtype]
    if device != "cpu":
        return torch.bfloat16
    has = torch.cpu.get_capabilities()
    return torch.bfloat16 if has.get("avx512_bf16") or has.get("amx_bf16") else torch.float32


def load_model(architecture: Any, source: str, *, device: str, dtype: torch.dtype, offline: bool) -> Any:
    """The model of `source` (a folder or a hub id), in evaluation mode on `device`.

    architecture  a class with from_pretrained, such as AutoModelForCausalLM.
    Raises WeightsError where the file does not hold every tensor of the network (transformers would invent them).
    """
    with explained(source, offline), _no_progress_bars():
        model, report = architecture.from_pretrained(
            source,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=offline,
            output_loading_info=True,
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise WeightsError(
            f"{source} lacks {len(missing)} tensors of its network, first {missing[0]}. Fetch the checkpoint again."
        )
    return model.to(device).eval()


@contextmanager
def explained(source: str, offline: bool) -> Iterator[None]:
    """Turns what transformers raises while it reads `source` into errors that say what to do."""
    try:
        yield
    except SafetensorError as error:
        raise WeightsError(f"the weights in {source} are damaged ({error}). Fetch the checkpoint again.") from error
    except OSError as error:
        where = "on this machine" if offline else "on this machine or the hub"
        raise WeightsMissingError(
            f"found no checkpoint {source} {where}; config.json, *.safetensors and tokenizer files are needed. "
            "Name an existing folder, or a hub id with CONSILIUM_OFFLINE unset."
        ) from error
    except (ImportError, KeyError, ValueError) as error:
        raise MemberError(
            f"{source} is no checkpoint that this transformers release can load: {error}. "
            "Code inside a checkpoint is never run; take one of a built-in architecture."
        ) from error
    except RuntimeError as error:
        raise WeightsError(f"the weights in {source} do not fit its config.json: {error}") from error


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
