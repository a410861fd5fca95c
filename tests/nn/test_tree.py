"""A tree gives every branch what it would have got alone after the prefix, and learns the answers alone."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaModel

from consilium.nn.tree import Branch, Tree, lay_out

NOTHING = torch.arange(0)


def branch(*ids: int, answer: int = 1) -> Branch:
    return Branch(ids, (False,) * (len(ids) - answer) + (True,) * answer)


def test_layout_of_two_branches_and_a_picture_shown_in_part() -> None:
    tree = Tree((7, 8), (torch.tensor([0, 3]),), 5, (branch(1, 2, 3), branch(4, 5, answer=1)))
    rows = lay_out([tree])
    assert rows.ids.tolist() == [[7, 8, 0, 0, 1, 2, 3, 4, 5]]
    assert rows.positions.tolist() == [[0, 1, 2, 5, 7, 8, 9, 7, 8]]
    assert rows.segments.tolist() == [[0, 0, 0, 0, 1, 1, 1, 2, 2]]
    assert rows.visual.tolist() == [[False, False, True, True, False, False, False, False, False]]
    assert rows.learnt.tolist() == [5, 7] and rows.targets.tolist() == [3, 5]


def test_branches_do_not_see_each_other_and_nobody_sees_padding() -> None:
    short, long = Tree((1,), (), 0, (branch(2, 3),)), Tree((1,), (), 0, (branch(2, 3), branch(4, 5)))
    seen = lay_out([long, short]).mask() == 0
    assert seen[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 0, 0, 1, 0],
        [1, 0, 0, 1, 1],
    ]
    assert not seen[1, 0, :3, 3:].any() and seen[1, 0].diagonal().all()


def test_a_branch_is_computed_as_if_it_stood_alone() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    config._attn_implementation = "eager"
    model = LlamaModel(config).eval()
    first, second = branch(10, 11, 12), branch(20, 21)
    rows = lay_out([Tree((5, 6, 7), (), 0, (first, second)), Tree((5,), (), 0, (branch(9, 9, 9, 9, 9, 9),))])
    with torch.no_grad():
        both = model(input_ids=rows.ids, attention_mask=rows.mask(), position_ids=rows.positions).last_hidden_state[0]
        for part, start in ((first, 3), (second, 6)):
            alone = model(input_ids=torch.tensor([[5, 6, 7, *part.ids]])).last_hidden_state[0, 3:]
            torch.testing.assert_close(both[start : start + len(part.ids)], alone, rtol=1e-4, atol=1e-5)


def test_a_long_answer_weighs_as_the_root_of_its_length() -> None:
    rows = lay_out([Tree((1,), (), 0, (branch(2, 3), branch(2, 3, 4, 5, 6, answer=4)))])
    assert rows.weights.tolist() == [1.0, 0.5, 0.5, 0.5, 0.5]
