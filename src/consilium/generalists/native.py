"""native: consilium's own small vision-language model, trained on open medical images. Runs on any CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from consilium.errors import UsageError
from consilium.protocols import Card, Encoder
from consilium.types import Completion, Message, Region

if TYPE_CHECKING:
    from consilium.nn.pretrained import Precision
    from consilium.nn.prompt_tokens import Prompt, Writer
    from consilium.nn.relevance import Gradients
    from consilium.nn.shared_prefix import SharedPrefix

WEIGHTS = "consilium-native"
CARD = Card(
    kind="generalist",
    name="native",
    version="1",
    summary="consilium's own vision-language model: the shared CLIP ViT-B/16 encoder (9 layers), a two-layer projector and "
    "SmolLM2-135M-Instruct, trained in stages on openly licensed medical images. It sees the pictures, weighs the written "
    "evidence, and rates options by the mean log-likelihood of their tokens and the end of the turn. It is small: its "
    "reasoning is shallow, and its free text is short and often wrong.",
    modalities=("CR", "CT", "DX", "MR", "US"),
    trained_on={
        "VQA-RAD, train part of the image-disjoint split": "CC0 1.0",
        "cxr_pneumonia_kermany": "CC BY 4.0",
        "nih_cxr14_subset": "NIH Clinical Center terms (free use with attribution)",
        "brain_tumor_mri": "CC0 as stated",
        "lung_ct_iqoth": "CC BY 4.0",
        "breast_ultrasound_busi": "open as stated",
        "covid_cxr_hannover": "CC BY 3.0",
        "covid_cxr_notes, cxr_lungmask_v7_covid, lung_us_pocus: the rows marked open": "CC BY, CC BY-SA",
        "CLIP and SmolLM2, before it": "as their publishers state",
    },
    licence="CC BY-SA 4.0 (adapter: some of its pictures are share-alike), Apache-2.0 (language model), MIT (vision encoder, as "
    "its upstream model card states)",
    evidence="results/native_diagnosis.json, results/native_guided.json, results/triggers.json, results/native_experts.json",
    not_for=(
        "a diagnosis by itself: it was measured beside specialists and known cases, see its evidence",
        "free text that nobody checks: a model of this size makes things up",
        "pictures of other kinds than it learnt: skin, slides, eyes, other parts of the body than its sets show",
        "measuring, or findings of a few pixels: pictures are squashed to 224 x 224",
    ),
)


def load(
    folder: str | Path | None = None,
    encoder: Encoder | None = None,
    device: str = "auto",
    dtype: Precision = "auto",
    length_normalised: bool = True,
    quantise: Literal["int8"] | None = None,
) -> Native:
    """The model, assembled from the named weights or read from `folder` (a LLaVA checkpoint with its processor).

    encoder            the council's shared encoder, whose pass serves this model too where it is the checkpoint's own tower;
                       elsewhere the tower in the checkpoint reads the pictures.
    dtype              "auto" (bfloat16 where the processor computes in it, else float32), "bfloat16", "float16" or "float32".
    length_normalised  options are rated by the mean log-likelihood of their tokens; False: by the sum, as other generalists.
    quantise           "int8": the language model's matrices in 8 bits, on a CPU: a quarter of the memory, slightly other
                       numbers, no `explain`.
    Raises WeightsMissingError where there are no weights, WeightsError where they are incomplete.
    """
    from consilium import weights
    from consilium.nn import llava
    from consilium.nn.eyes import Eyes
    from consilium.nn.lean_llama import LeanLlama
    from consilium.nn.pretrained import pick_device, pick_dtype
    from consilium.nn.prompt_tokens import Writer
    from consilium.nn.relevance import Gradients
    from consilium.nn.shared_prefix import SharedPrefix

    if quantise not in (None, "int8"):
        raise UsageError(f"quantise is {quantise!r}; it is 'int8' or None.")
    source = Path(folder) if folder is not None else weights.folder(WEIGHTS)
    device = "cpu" if quantise else pick_device(device)
    model, processor = llava.load(source, device, pick_dtype(dtype, device))
    version = f"{CARD.version}+{weights.fingerprint(source)[:8]}{'.int8' if quantise else ''}"
    eyes = Eyes(model, processor, encoder if encoder is not None and _is_tower(encoder, model) else None)
    lean = LeanLlama(model.model.language_model, model.lm_head, eight_bits=quantise == "int8")
    if quantise:
        model.model.language_model.layers = None  # their matrices would stay beside those in 8 bits
    return Native(
        SharedPrefix(lean, eyes),
        Writer(processor, model.config.image_seq_length),
        None if quantise else Gradients(model, eyes),
        length_normalised,
        replace(CARD, version=version, trained_on=CARD.trained_on if _is_ours(source) else {}),
    )


def _is_ours(folder: Path) -> bool:
    """Whether a folder is the checkpoint that this card describes. What another one learnt is not known here."""
    from consilium import weights

    found = weights.status(WEIGHTS).folder
    return found is not None and found.resolve() == folder.resolve()


def _is_tower(encoder: Encoder, model: Any) -> bool:
    """Whether `encoder` computes the vision tower of `model`: the same weights down to the same layer, not adapted since."""
    from safetensors import safe_open

    from consilium import weights
    from consilium.nn.eyes import last_block_is

    assembly = weights.describe(WEIGHTS).assembly
    base = weights.status(assembly.bases[0].name).folder if assembly else None
    files = list(base.glob("*.safetensors")) if base else []
    depth = model.config.vision_config.num_hidden_layers
    if (
        base is None
        or len(files) != 1
        or not encoder.card.version.endswith(f"+layer{depth}.{weights.fingerprint(base)[:8]}")
    ):
        return False
    with safe_open(files[0], "pt") as opened:
        return last_block_is(model, opened)


@dataclass(frozen=True)
class Native:
    """Reads pictures and text. Prompts that begin alike share what was read; see `nn.shared_prefix`."""

    reader: SharedPrefix
    writer: Writer
    gradients: Gradients | None
    length_normalised: bool = True
    card: Card = CARD
    sees_images: bool = True

    def generate(self, messages: Sequence[Message], max_tokens: int = 128) -> Completion:
        """Greedy text up to the end of the turn. Raises UsageError on text that spells a control token, and where prompt
        and reply do not fit into the context."""
        if max_tokens < 1:
            raise UsageError(f"max_tokens is {max_tokens}; ask for at least 1 token.")
        ids, logprobs = self.reader.greedy(self._prompt(messages), max_tokens, self.writer.stops)
        return Completion(self.writer.text(ids), len(ids), logprobs)

    def score(self, messages: Sequence[Message], options: Sequence[str]) -> tuple[float, ...]:
        """The log-likelihood of each option as the whole reply: its tokens and the end of the turn, so that an option that
        begins another is told from it. The mean over these tokens, or the sum where `length_normalised` is False."""
        rated = self.reader.log_likelihoods(self._prompt(messages), self._replies(options))
        return tuple(sum(tokens) / (len(tokens) if self.length_normalised else 1) for tokens in rated)

    def explain(self, messages: Sequence[Message], text: str, against: Sequence[str] = ()) -> tuple[Region, ...]:
        """How much each place of each picture of the prompt raised the probability of the reply `text`: one Region a picture,
        a grid of patches in [0, 1] (1: the place that raised it most of all pictures).

        against  the other replies that were possible; relevance is then for `text` rather than for one of them.
        Raises UsageError in a model that was loaded with quantise.
        """
        if self.gradients is None:
            raise UsageError("explain needs gradients, which 8-bit matrices do not give. Load native without quantise.")
        first, *others = self._replies([text, *against])
        return self.gradients.regions(self._prompt(messages), first, others, self.length_normalised)

    def _prompt(self, messages: Sequence[Message]) -> Prompt:
        return self.writer.prompt(messages)

    def _replies(self, options: Sequence[str]) -> list[tuple[int, ...]]:
        replies = [self.writer.reply(option) for option in options]
        if not replies or min(map(len, replies)) < 2:
            raise UsageError(f"score needs options with text in them; found {list(options)}.")
        return replies
