import pytest
import torch

from consilium.nn.mask_judge import both_ways, joined, of_tallies, signs, tallies


def probabilities(mask, sure):
    return torch.stack([torch.where(mask, 1 - sure, sure), torch.where(mask, sure, 1 - sure)])[None]


def test_a_sure_symmetric_mask_has_high_signs_and_an_unsure_one_low():
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[4:12, 4:12] = True
    sure, unsure = (probabilities(mask, p) for p in (0.99, 0.6))
    assert signs(sure, sure).min() > 0.9
    assert (signs(unsure, unsure)[..., [0, 2]] < signs(sure, sure)[..., [0, 2]]).all()


def test_the_mirror_disagrees_where_its_outline_lies_elsewhere():
    one, two = (torch.zeros(16, 16, dtype=torch.bool) for _ in range(2))
    one[:, :8], two[:, 4:12] = True, True
    assert signs(probabilities(one, 0.9), probabilities(two, 0.9))[0, 0, 1].item() == pytest.approx(0.5, abs=1e-3)


def test_of_a_label_that_is_nowhere_the_signs_say_how_little_speaks_for_it():
    nothing = torch.zeros(8, 8, dtype=torch.bool)
    assert signs(probabilities(nothing, 0.9), probabilities(nothing, 0.9))[0, 0].tolist() == pytest.approx(
        [0.9, 1, 0.9]
    )


def test_tallies_of_parts_add_up():
    torch.manual_seed(0)
    one, two = (torch.randn(2, 3, 8, 12).softmax(1) for _ in range(2))
    parts = joined(tallies(one[:, :, :3], two[:, :, :3]), tallies(one[:, :, 3:], two[:, :, 3:]))
    torch.testing.assert_close(of_tallies(parts), signs(one, two))


def test_labels_change_sides_in_the_mirror():
    def left_is_one(pictures):
        """Label 1 on the left half, 2 on the right, of any picture."""
        logits = torch.zeros(len(pictures), 3, *pictures.shape[2:])
        half = pictures.shape[-1] // 2
        logits[:, 1, ..., :half], logits[:, 2, ..., half:] = 9, 9
        return logits

    plain, mirrored = both_ways(left_is_one, torch.zeros(1, 1, 4, 8), (0, 2, 1))
    torch.testing.assert_close(plain, mirrored)
