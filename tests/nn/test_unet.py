import numpy as np
import pytest
import torch

from consilium.errors import MemberError
from consilium.nn.unet import Description, build, described, kept, restored

SMALL = {"kind": "dynunet", "dims": 2, "inputs": 1, "outputs": 3, "filters": [4, 8, 8]}


@pytest.mark.parametrize("kind", ["dynunet", "unet", "segresnet"])
@pytest.mark.parametrize("dims", [2, 3])
def test_gives_a_logit_a_label_at_every_place(kind, dims):
    filters = [8, 16, 16, 16] if kind == "segresnet" else [4, 8, 8]
    net = build(described(SMALL | {"kind": kind, "dims": dims, "filters": filters})).eval()
    with torch.inference_mode():
        assert net(torch.zeros((1, 1, *(16,) * dims))).shape == (1, 3, *(16,) * dims)


def test_half_precision_weights_answer_as_those_that_were_trained():
    what = Description("dynunet", 2, 1, 3, (4, 8, 8, 8), deep=True)
    net = build(what).eval()
    tensors = kept(net)
    assert all(value.dtype == np.float16 for value in tensors.values())
    assert not [name for name in tensors if "skip_layers" in name or "heads" in name]
    picture = torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(restored(what, tensors)(picture), net(picture), atol=0.03, rtol=0.03)


@pytest.mark.parametrize(
    "wrong", [{"kind": "os.system"}, {"dims": 4}, {"filters": [4]}, {"filters": "ab"}, {"outputs": 1}, {"inputs": None}]
)
def test_refuses_what_describes_no_network(wrong):
    with pytest.raises(MemberError, match="Train the segmenter again"):
        described(SMALL | wrong)


def test_says_which_weights_do_not_fit():
    what = described(SMALL)
    tensors = kept(build(what))
    lacking = dict(list(tensors.items())[1:])
    with pytest.raises(MemberError, match=next(iter(tensors))):
        restored(what, lacking)
    with pytest.raises(MemberError, match="do not fit"):
        restored(described(SMALL | {"filters": [4, 4, 4]}), tensors)
