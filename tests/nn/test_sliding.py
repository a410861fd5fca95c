import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference

from consilium.errors import UsageError
from consilium.nn import sliding
from consilium.nn.sliding import Windows


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.Tanh(), torch.nn.Conv3d(4, 3, 3, padding=1)
    )


def answer(net):
    return lambda windows: net(windows.float())


def by_monai(volume, net, windows):
    with torch.inference_mode():
        return sliding_window_inference(
            torch.from_numpy(volume)[None, None].float(), windows.size, 2, net, overlap=windows.overlap, mode="gaussian"
        )[0]


@pytest.mark.parametrize("shape", [(20, 33, 27), (8, 12, 16), (5, 40, 9), (31, 16, 16)])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.7])
def test_answers_as_monai_does(net, shape, overlap):
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    windows = Windows((8, 12, 16), overlap, 3)
    expected = by_monai(volume, net, windows)
    parts = [(first, slab.clone()) for first, slab in sliding.slabs(volume, answer(net), windows)]
    assert [first for first, _ in parts] == list(np.cumsum([0, *(slab.shape[1] for _, slab in parts)])[:-1])
    torch.testing.assert_close(torch.cat([slab for _, slab in parts], 1), expected, atol=2e-3, rtol=1e-3)
    said = sliding.labels(volume, answer(net), windows)
    assert said.dtype == np.uint8 and said.shape == shape
    assert (said == expected.argmax(0).numpy()).mean() > 0.999


def test_the_network_sees_empty_windows_once_a_value(net):
    volume = np.full((16, 64, 64), -1000, np.int16)
    volume[:, 20:30, 20:30] = np.random.default_rng(0).integers(-900, 900, (16, 10, 10))
    seen = []

    def counting(windows):
        seen.append(len(windows))
        return net(windows.float() / 1000)

    said = sliding.labels(volume, counting, Windows((16, 16, 16)))
    assert sum(seen) < 49 / 2
    with torch.inference_mode():
        whole = sliding_window_inference(
            torch.from_numpy(volume)[None, None].float() / 1000, (16, 16, 16), 1, net, overlap=0.5, mode="gaussian"
        )
    assert (said == whole[0].argmax(0).numpy()).mean() > 0.999


def test_keeps_one_slab_of_answers_alone(net):
    volume = np.random.default_rng(0).normal(size=(64, 24, 24)).astype(np.float32)
    sizes = [slab.shape[1] for _, slab in sliding.slabs(volume, answer(net), Windows((8, 16, 16)))]
    assert max(sizes) <= 8 and sum(sizes) == 64


def test_takes_channels_and_batches(net):
    two = torch.nn.Conv3d(2, 2, 1)
    volume = np.random.default_rng(0).normal(size=(2, 9, 20, 20)).astype(np.float32)
    one = sliding.labels(volume, lambda w: two(w), Windows((8, 8, 8), at_once=1))
    many = sliding.labels(volume, lambda w: two(w), Windows((8, 8, 8), at_once=5))
    np.testing.assert_array_equal(one, many)
    with torch.inference_mode():
        np.testing.assert_array_equal(one, two(torch.from_numpy(volume)[None])[0].argmax(0).numpy())


@pytest.mark.parametrize("wrong", [{"size": (0, 8, 8)}, {"overlap": 1.0}, {"at_once": 0}])
def test_refuses_windows_that_are_none(wrong):
    with pytest.raises(UsageError, match="windows"):
        Windows(**({"size": (8, 8, 8)} | wrong))
