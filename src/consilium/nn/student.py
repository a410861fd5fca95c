"""The network while it learns: visual features through the projector into the language model, loss on the answers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from consilium.nn.tree import Rows

LORA_MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Student(nn.Module):
    """A LLaVA's projector, language model and head over given visual features; the vision tower stays outside.

    model  a LlavaForConditionalGeneration.
    rank   > 0 adds LoRA (Hu et al., arXiv 2106.09685) of that rank, by peft, to every matrix of the language model; its other
           weights are frozen and kept in `frozen` precision.
    blocks > 0 takes that many of the last blocks of its vision tower along, to be adapted: then features are those of the
           block before them.
    """

    def __init__(self, model: Any, rank: int = 0, frozen: torch.dtype = torch.float32, blocks: int = 0) -> None:
        super().__init__()
        language, projector = model.model.language_model, model.model.multi_modal_projector
        language.set_attn_implementation(
            "eager"
        )  # short rows with a tree's mask: faster than the fused kernels on a CPU
        language.requires_grad_(False).to(frozen)
        self.config = model.config
        self.rank = rank
        self.projector = projector.float()
        depth = model.config.vision_config.num_hidden_layers
        self.blocks = {f"trunk.{i}.": f"encoder.layers.{depth - blocks + i}." for i in range(blocks)}
        tower = getattr(model.model.vision_tower, "vision_model", model.model.vision_tower)
        self.trunk = nn.ModuleList(list(tower.encoder.layers)[depth - blocks :]).requires_grad_(False)
        self.language = _with_lora(language, rank) if rank else language
        # One tensor with the input embeddings, as the checkpoint ties them.
        self.vocabulary = language.embed_tokens.weight
        self.embed = language.embed_tokens

    @property
    def layers(self) -> nn.ModuleList:
        """The language model's decoder layers."""
        language = self.language.get_base_model() if self.rank else self.language
        return language.layers

    def see(self, tokens: Tensor) -> Tensor:
        """(n, t, channels) tokens as the adapted blocks give them; as they are where none is adapted."""
        if len(self.trunk):
            tokens = tokens.to(self.device)
        for block in self.trunk:
            tokens = block(tokens, None)
        return tokens

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.vocabulary.device

    def forward(self, rows: Rows, features: Tensor) -> Tensor:
        """The weighted mean negative log-likelihood, in nats, of the learnt tokens."""
        return (self.losses(rows, features) * rows.weights).sum() / rows.weights.sum()

    def losses(self, rows: Rows, features: Tensor) -> Tensor:
        """(m,) negative log-likelihood, in nats, of each learnt token.

        features  (n, channels) of the shown visual tokens, in the order of `rows.visual`.
        """
        embedded = self.embed(rows.ids)
        if len(features):
            shown = self.projector(features).to(embedded.dtype)
            embedded = embedded.masked_scatter(rows.visual[..., None], shown)
        hidden = self.language(
            inputs_embeds=embedded,
            attention_mask=rows.mask(embedded.dtype),
            position_ids=rows.positions,
            use_cache=False,
        ).last_hidden_state
        told = hidden.flatten(0, 1)[rows.learnt]
        return functional.cross_entropy(
            functional.linear(told, self.vocabulary).float(), rows.targets, reduction="none"
        )

    @torch.no_grad()
    def reply(self, rows: Rows, features: Tensor, most: int, stop: int) -> list[int]:
        """Greedy token ids after the one tree of `rows` (a prefix and a single branch), at most `most`, before `stop`."""
        embedded = self.embed(rows.ids)
        if len(features):
            embedded = embedded.masked_scatter(rows.visual[..., None], self.projector(features).to(embedded.dtype))
        inputs = {
            "inputs_embeds": embedded,
            "position_ids": rows.positions,
            "attention_mask": rows.mask(embedded.dtype),
        }
        said: list[int] = []
        cache = None
        while len(said) < most:
            output = self.language(**inputs, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            best = int(functional.linear(output.last_hidden_state[0, -1], self.vocabulary).argmax())
            if best == stop:
                break
            said.append(best)
            place = rows.positions[:, -1:] + len(said)
            inputs = {
                "inputs_embeds": self.embed(torch.tensor([[best]], device=rows.ids.device)),
                "position_ids": place,
            }
        return said

    def learns(self, projector: bool, lora: bool) -> list[nn.Parameter]:
        """Chooses what is trained and returns it."""
        self.projector.requires_grad_(projector)
        for name, parameter in self.language.named_parameters():
            parameter.requires_grad_(lora and "lora_" in name)
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def learnt(self) -> dict[str, Tensor]:
        """Everything that a stage may have changed, by name, float32: the projector, and the LoRA matrices once they add
        something (untrained ones are drawn anew from the same seed, at whatever rank the next stage has)."""
        own = dict(self.named_parameters())
        trained = any(bool(tensor.any()) for name, tensor in own.items() if "lora_B" in name)
        return {
            name: tensor.detach().float().cpu()
            for name, tensor in own.items()
            if name.startswith(("projector.", "trunk.")) or ("lora_" in name and trained)
        }

    def take(self, learnt: dict[str, Tensor]) -> None:
        """Puts back what `learnt` gave; LoRA that one side does not have stays as it is (a first stage trains none).

        ValueError where a tensor is of another shape, as of another rank, or is nowhere in this student.
        """
        own = dict(self.named_parameters())
        for name, tensor in learnt.items():
            if name not in own and not (self.rank == 0 and "lora_" in name):
                raise ValueError(f"{name} is nowhere in this student")
            if name in own and own[name].shape != tensor.shape:
                raise ValueError(f"{name} is {tuple(tensor.shape)}, and {tuple(own[name].shape)} here")
        with torch.no_grad():
            for name, tensor in learnt.items():
                if name in own:
                    own[name].copy_(tensor)

    def take_adapter(self, projector: Mapping[str, Tensor], lora: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Puts an adapter's projector and LoRA pairs (as `lora` names them) in; ValueError where their shapes are others."""
        own = self.lora()
        if set(own) != set(lora) or any(own[name][0].shape != lora[name][0].shape for name in own):
            raise ValueError("its LoRA matrices are for other modules or of another rank")
        self.projector.load_state_dict({name: tensor.float() for name, tensor in projector.items()})
        modules = dict(self.language.named_modules())
        with torch.no_grad():
            for name, pair in lora.items():
                module = modules["base_model.model." + name.removeprefix("model.language_model.")]
                for half, tensor in zip((module.lora_A, module.lora_B), pair, strict=True):
                    half["default"].weight.copy_(tensor)

    def vision(self) -> dict[str, Tensor]:
        """The adapted blocks by their names in the vision tower; {} where none is."""
        return {
            theirs + name.removeprefix(ours): tensor.detach()
            for name, tensor in self.named_parameters()
            for ours, theirs in self.blocks.items()
            if name.startswith(ours)
        }

    def lora(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Module path under `model.language_model` -> (A (rank, in), B (out, rank))."""
        pairs: dict[str, tuple[Tensor, Tensor]] = {}
        for name, module in self.language.named_modules():
            if hasattr(module, "lora_A") and "default" in module.lora_A:
                path = name.removeprefix("base_model.model.")
                pairs[f"model.language_model.{path}"] = (
                    module.lora_A["default"].weight.detach().cpu(),
                    module.lora_B["default"].weight.detach().cpu(),
                )
        return pairs


def shown_features(tokens: Sequence[Tensor], kept: Sequence[Tensor]) -> Tensor:
    """(n, channels) float32: of each picture's (per_image, channels) tokens those at its `kept` places."""
    rows = [picture[places] for picture, places in zip(tokens, kept, strict=True)]
    return torch.cat(rows).float() if rows else torch.empty(0, 0)


LORA_SCALE = 2.0


def _with_lora(language: Any, rank: int) -> Any:
    from peft import LoraConfig, PeftModel

    config = LoraConfig(r=rank, lora_alpha=int(LORA_SCALE * rank), lora_dropout=0.0, target_modules=list(LORA_MATRICES))
    wrapped = PeftModel(language, config)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
    return wrapped
