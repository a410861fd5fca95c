"""What is learnt from is, token for token, what is served; the order of a run is a function of its seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from tests.train import tiny_bases

from consilium.errors import DataError
from consilium.nn import llava
from consilium.nn.student import Student
from consilium.nn.tree import lay_out
from consilium.train.examples import Order, Writer, tree


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory):
    return llava.build(*tiny_bases.write_bases(tmp_path_factory.mktemp("bases")), layer=2)[1]


def test_tokens_are_those_of_the_processor_with_the_picture_expanded(processor) -> None:
    made = tiny_bases.group(1, "glioma")
    example = Writer(processor.tokenizer).example(made)
    (_, asked), (_, said) = made["branches"][0]["messages"]
    picture = PIL.Image.fromarray(np.zeros((20, 30, 3), np.uint8))
    served = processor.apply_chat_template(
        [
            {"role": "system", "content": made["system"]},
            {"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": asked}]},
            {"role": "assistant", "content": said},
        ],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    image = processor.tokenizer.convert_tokens_to_ids(llava.IMAGE_TOKEN)
    learnt = [*example.prefix, *[image] * (1 + tiny_bases.PATCHES), *example.branches[0].ids]
    # The template ends the turn with a line break, which nobody has to write.
    assert learnt == served["input_ids"][0, : len(learnt)].tolist()
    assert processor.tokenizer.decode(served["input_ids"][0, len(learnt) :]) == "\n"


def test_the_answer_and_the_end_of_turn_alone_are_learnt(processor) -> None:
    example = Writer(processor.tokenizer).example(tiny_bases.group(1, "glioma"))
    branch = example.branches[0]
    told = [i for i, learnt in zip(branch.ids, branch.learnt, strict=True) if learnt]
    assert processor.tokenizer.decode(told) == "glioma<|im_end|>"
    assert not any(branch.learnt[: -len(told)])


def test_a_second_turn_is_asked_and_learnt_in_the_same_branch(processor) -> None:
    made = tiny_bases.group(1, "glioma")
    made["branches"][0]["messages"] += [["user", "It said glioma."], ["assistant", "yes"]]
    branch = Writer(processor.tokenizer).example(made).branches[0]
    text = processor.tokenizer.decode(branch.ids)
    assert text.endswith(
        "glioma<|im_end|>\n<|im_start|>user\nIt said glioma.<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>"
    )
    learnt = processor.tokenizer.decode([i for i, told in zip(branch.ids, branch.learnt, strict=True) if told])
    assert learnt == "glioma<|im_end|>yes<|im_end|>"


def test_what_branches_begin_with_is_read_once_and_changes_nothing(processor, tmp_path: Path) -> None:
    made = tiny_bases.group(1, "glioma")
    first, cards = made["branches"][0], "Experts that you may ask.\n<A()> task: b.\n"
    others = [["user", "Image: head MR.\nQuestion: Where is it?"], ["assistant", "left"]]
    told = [[["user", cards + turns[0][1]], *turns[1:]] for turns in (first["messages"], others)]
    group = {**made, "branches": [{**first, "messages": messages} for messages in told]}
    apart = [Writer(processor.tokenizer).example({**group, "branches": [branch]}) for branch in group["branches"]]
    example = Writer(processor.tokenizer).example(group)
    assert processor.tokenizer.decode(example.shared).startswith("\n" + cards)
    for alone, branch in zip(apart, example.branches, strict=True):
        assert not alone.shared and (*example.shared, *branch.ids) == alone.branches[0].ids
    student = Student(llava.build(*tiny_bases.write_bases(tmp_path), layer=2)[0], 2)
    features = torch.randn(1 + tiny_bases.PATCHES, tiny_bases.CHANNELS, generator=torch.Generator().manual_seed(1))

    def losses(one) -> list[float]:
        laid = tree(one, 1 + tiny_bases.PATCHES, 1 + tiny_bases.PATCHES, torch.Generator())
        return student.losses(lay_out([laid]), features).tolist()

    assert losses(example) == pytest.approx([loss for alone in apart for loss in losses(alone)], abs=1e-4)


def test_blind_leaves_the_picture_out(processor) -> None:
    example = Writer(processor.tokenizer).example(tiny_bases.group(1, "glioma"), blind=True)
    assert example.digests == () and processor.tokenizer.decode(example.branches[0].ids).startswith("Image: head MR.")


@pytest.mark.parametrize("text", ["<|im_end|>", "see <image>"])
def test_text_that_spells_a_control_token_is_refused(processor, text: str) -> None:
    made = tiny_bases.group(1, "glioma")
    made["branches"][0]["messages"][0][1] = text
    with pytest.raises(DataError, match="tiny/1 spells a control token"):
        Writer(processor.tokenizer).example(made)


def test_turns_that_do_not_alternate_are_refused(processor) -> None:
    made = tiny_bases.group(1, "glioma")
    made["branches"][0]["messages"] = [["assistant", "x"]]
    with pytest.raises(DataError, match="must alternate"):
        Writer(processor.tokenizer).example(made)


def test_order_covers_each_example_once_an_epoch_within_the_size(processor) -> None:
    writer = Writer(processor.tokenizer)
    examples = [writer.example(g) for g in tiny_bases.groups(60)]
    order = Order(tokens=600, shown=3, seed=1)
    batches = order.batches(examples, 0)
    assert sorted(i for batch in batches for i in batch) == list(range(60))
    for batch in batches:
        longest = max(examples[i].text_tokens + 3 for i in batch)
        assert len(batch) == 1 or longest * len(batch) <= 600
    assert batches == order.batches(examples, 0) != order.batches(examples, 1)


def test_shown_patches_are_some_in_order_with_cls_first(processor) -> None:
    example = Writer(processor.tokenizer).example(tiny_bases.group(1, "glioma"))
    kept = tree(example, 197, 33, torch.Generator().manual_seed(3)).kept[0]
    assert len(kept) == 33 and kept[0] == 0 and bool((kept.diff() > 0).all())
    assert tree(example, 197, 500, torch.Generator()).kept[0].tolist() == list(range(197))


def test_real_tokenizer_gives_the_served_tokens(pretrained: Path) -> None:
    _, processor = llava.build(pretrained / "clip-vit-b16", pretrained / "smollm2-135m-instruct")
    made = tiny_bases.group(1, "bacterial_pneumonia, 93 %")
    example = Writer(processor.tokenizer).example(made)
    (_, asked), (_, said) = made["branches"][0]["messages"]
    whole = processor.apply_chat_template(
        [
            {"role": "system", "content": made["system"]},
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": asked}]},
            {"role": "assistant", "content": said},
        ],
        tokenize=False,
    )
    head, _, tail = whole.partition(llava.IMAGE_TOKEN)
    encode = processor.tokenizer.encode
    assert list(example.prefix) == encode(head, add_special_tokens=False)
    assert [*example.branches[0].ids, *encode("\n")] == encode(tail, add_special_tokens=False)
