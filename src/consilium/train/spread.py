"""A frozen language model that is too large for one device: its layers lie in pieces on all of them, what is trained on each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import distributed, nn

from consilium.nn.student import Student


def cut(student: Student, trained: Sequence[nn.Parameter], device: torch.device) -> Student:
    """Moves the student to `device` and leaves this process its share of each decoder layer's frozen weights (FSDP2:
    `torch.distributed.fsdp.fully_shard`), which are gathered layer by layer while it computes.

    Embeddings, projector, LoRA and all that is trained stay whole everywhere, so that checkpoints are as those of one process.
    From then on every process has to compute together with the others.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    student.to(device)
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    added = {parameter for name, parameter in student.named_parameters() if "lora_" in name}  # small, and written whole
    whole = {*trained, *added, student.vocabulary}
    for layer in student.layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
    fully_shard(student.language, mesh=mesh, ignored_params=whole)
    return student


def average(trained: Sequence[nn.Parameter]) -> None:
    """Each gradient becomes the mean over the processes; where one had none, it counts as zero."""
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        distributed.all_reduce(parameter.grad)
        parameter.grad /= distributed.get_world_size()
