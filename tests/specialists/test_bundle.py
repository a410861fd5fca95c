"""MONAI bundles: asked as MONAI itself would ask them, and never by running code of theirs."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.specialists import bundles

from consilium import registry
from consilium.errors import MemberError, UsageError
from consilium.specialists import bundle
from consilium.specialists.adapter import bundle_input, components, config, vista3d
from consilium.types import Case, Image, Study, Volume


def case(*items: Image | Volume, modality: str = "CT") -> Case:
    return Case("case", "What is there?", studies=(Study(modality, None, items),))


def added(folder: Path, home: Path, name: str = "organ") -> bundle.Bundle:
    bundle.add(folder, home, name)
    return registry.get("specialists", name).load(encoder=None)


def test_it_outlines_and_measures_what_its_network_sees(tmp_path: Path, home: Path) -> None:
    member = added(bundles.write(tmp_path / "organ"), home)
    opinion = member.examine(case(bundles.volume()))
    assert opinion.abstained is None
    (found,) = opinion.segmentations
    assert member.card.outlines
    truth = bundles.volume().voxels > 0
    assert found.labels.shape == truth.shape and found.labels.dtype == np.uint8
    assert bundles.dice(found.labels == 1, truth) > 0.95
    said = {finding.site: (finding.quantity, finding.unit) for finding in opinion.findings}
    volume_ml, unit = said["volume"]
    assert unit == "mL" and volume_ml == pytest.approx(truth.sum() * 16 / 1000, rel=0.1)
    assert {finding.concept.meaning for finding in opinion.findings} == {"bright organ"}
    assert all(finding.probability is None for finding in opinion.findings)


def test_its_card_is_that_of_the_metadata_and_the_users_card_wins(tmp_path: Path, home: Path) -> None:
    folder = bundles.write(tmp_path / "organ finder v2")
    (folder / "LICENSE").write_text("\nApache License\nVersion 2.0\n")
    card = bundle.add(folder, home)
    assert (card.name, card.version, card.modalities) == ("organ_finder_v2", "0.3.1", ("CT",))
    assert [code.meaning for code in card.concepts] == ["bright organ"] and "mean_dice 0.9" in card.evidence
    assert card.licence == "Apache License (LICENSE of the bundle)" and "not measured here" in card.evidence
    (folder / "card.toml").write_text(
        'name = "spleen"\nbody_part = "ABDOMEN"\nconcepts = ["spleen"]\nlicence = "CC BY 4.0"\n'
    )
    card = bundle.add(folder, home)
    assert (card.name, card.body_parts, card.licence) == ("spleen", ("ABDOMEN",), "CC BY 4.0")
    opinion = registry.get("specialists", "spleen").load(encoder=None).examine(case(bundles.volume()))
    assert opinion.segmentations[0].concepts == card.concepts


@pytest.mark.parametrize("discrete_first", [False, True])
def test_it_says_what_monai_itself_says(tmp_path: Path, home: Path, discrete_first: bool) -> None:
    from monai.bundle import ConfigParser

    torch.manual_seed(6)  # whose network divides the picture about in half
    plan = bundles.inference(bundles.UNET)
    steps = plan["postprocessing"]["transforms"][:3]
    steps = [steps[0], steps[2], steps[1] | {"nearest_interp": True}] if discrete_first else steps
    plan = bundles.inference(bundles.UNET, postprocessing={"_target_": "Compose", "transforms": steps})
    weights = components.build(bundles.UNET).state_dict()
    member = added(bundles.write(tmp_path / "organ", plan, weights=weights), home)
    plain = bundles.volume()
    noise = np.random.default_rng(0).integers(-40, 40, plain.voxels.shape).astype(np.int16)
    shown = Volume(plain.voxels + noise, "u", plain.spacing_mm, plain.orientation, units="HU")

    theirs = ConfigParser({name: value for name, value in plan.items() if name not in ("imports", "evaluator", "run")})
    theirs.config["preprocessing"]["transforms"][-1].pop("device")
    network = theirs.get_parsed_content("network_def").eval()
    network.load_state_dict(weights)
    data = theirs.get_parsed_content("preprocessing")({"image": str(bundles.as_nifti(shown, tmp_path / "ct.nii"))})
    with torch.inference_mode():
        data["pred"] = theirs.get_parsed_content("inferer")(data["image"][None], network)[0]
    expected = np.asarray(theirs.get_parsed_content("postprocessing")(data)["pred"])[0].T

    labels = member.examine(case(shown)).segmentations[0].labels
    assert 0.1 < labels.mean() < 0.9
    assert np.array_equal(labels, expected)


def test_parts_that_overlap_are_kept_apart_and_the_order_of_channels_is_said(tmp_path: Path, home: Path) -> None:
    network = {"_target_": "torch.nn.Conv3d", "in_channels": 4, "out_channels": 3, "kernel_size": 1}
    weight = torch.zeros(3, 4, 1, 1, 1)
    weight[0, 0], weight[1, 3], weight[2, 1] = 40, 40, 40
    meta = bundles.metadata()
    entry = {"modality": "MR", "num_channels": 4, "spatial_shape": ["8*n"] * 3, "channel_def": {}}
    parts = {"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing tumor"}
    said = {"format": "segmentation", "num_channels": 3, "channel_def": parts}
    meta["network_data_format"] = {"inputs": {"image": entry}, "outputs": {"pred": said}}
    plan = bundles.inference(network)
    steps = plan["postprocessing"]["transforms"]
    lambda_ = {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: torch.where(x[[2]] > 0, 4, 0)"}
    plan["postprocessing"]["transforms"] = [
        {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
        steps[1],
        {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
        lambda_,
        steps[3],
    ]
    folder = bundles.write(tmp_path / "brats", plan, meta, {"weight": weight, "bias": torch.full((3,), -20.0)})
    with pytest.raises(MemberError, match=r"'lambda x: .*would run code"):
        bundle.add(folder, home)
    (folder / "card.toml").write_text('[bundle]\nlabels = "brats"\n')
    member = added(folder, home, "brats")
    core, none, whole = np.s_[5:8, 10:16, 8:12], np.s_[0:0, 0:0, 0:0], np.s_[4:10, 8:20, 6:14]
    four = [bundles.volume(box, f"u{i}") for i, box in enumerate((core, core, none, whole))]
    opinion = member.examine(case(*four, modality="MR"))
    found = {each.concepts[0].meaning: each.labels == 1 for each in opinion.segmentations}
    assert list(found) == ["tumor core", "whole tumor", "enhancing tumor"] and not opinion.exclusive
    assert bundles.dice(found["whole tumor"], bundles.volume(whole).voxels > 0) > 0.9
    assert found["tumor core"].any() and (found["whole tumor"] & found["tumor core"]).sum() == found["tumor core"].sum()
    assert "they were taken as T1c, T1, T2, FLAIR" in opinion.caution
    short = member.examine(case(bundles.volume(), modality="MR"))
    assert short.abstained == "it takes 4 volumes of one size and place (T1c, T1, T2, FLAIR); the case holds 1 volumes"


@pytest.mark.parametrize("names", [{"0": "tumor"}, {"0": "background", "1": "tumor"}], ids=["alone", "with background"])
@pytest.mark.parametrize("activated", [False, True])
def test_of_one_map_without_a_threshold_what_is_likelier_than_not_is_taken(
    tmp_path: Path, home: Path, names: dict[str, str], activated: bool
) -> None:
    meta = bundles.metadata()
    meta["network_data_format"]["outputs"]["pred"] |= {"num_channels": 1, "channel_def": names}
    steps = [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}] if activated else []
    plan = bundles.inference(
        bundles.THRESHOLD | {"out_channels": 1}, postprocessing={"_target_": "Compose", "transforms": steps}
    )
    weights = {"weight": torch.full((1, 1, 1, 1, 1), 40.0), "bias": torch.tensor([-20.0])}
    opinion = added(bundles.write(tmp_path / "tumor", plan, meta, weights), home).examine(case(bundles.volume()))
    (found,) = opinion.segmentations
    assert found.concepts[0].meaning == "tumor"
    assert bundles.dice(found.labels == 1, bundles.volume().voxels > 0) > 0.85


CLASSIFIER = {
    "_target_": "monai.networks.nets.Classifier",
    "in_shape": [1, 16, 16],
    "classes": 3,
    "channels": [4],
    "strides": [2],
}


def classifying(tmp_path: Path, classes: int = 3, **settings: Any) -> Path:
    network = CLASSIFIER | {"classes": classes}
    steps = [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "ScaleIntensityd", "keys": "image"},
        {"_target_": "Resized", "keys": "image", "spatial_size": [16, 16]},
    ]
    meta = bundles.metadata()
    entry = {"modality": "X-ray", "num_channels": 1, "spatial_shape": [16, 16]}
    said = {"format": "labels", "num_channels": 3, "channel_def": {"0": "a", "1": "b", "2": "c"}}
    meta["network_data_format"] = {"inputs": {"image": entry}, "outputs": {"pred": said}}
    plan = bundles.inference(
        network,
        preprocessing={"_target_": "Compose", "transforms": steps},
        inferer={"_target_": "SimpleInferer"},
        postprocessing={
            "_target_": "Compose",
            "transforms": [{"_target_": "Activationsd", "keys": "pred", "softmax": True}],
        },
    )
    torch.manual_seed(1)
    weights = components.build(network).state_dict()
    return bundles.write(tmp_path / "classes", plan, meta, weights | settings)


def test_a_network_that_classifies_gives_uncalibrated_probabilities(tmp_path: Path, home: Path) -> None:
    member = added(classifying(tmp_path), home, "classes")
    image = Image(np.random.default_rng(0).integers(0, 255, (20, 30)).astype(np.uint8), "u")
    opinion = member.examine(case(image, modality="DX"))
    network = components.build(CLASSIFIER)
    network.load_state_dict(torch.load(tmp_path / "classes/models/model.pt", weights_only=True))
    scaled = (image.pixels.T.astype(np.float32) - image.pixels.min()) / np.ptp(image.pixels)
    seen = torch.nn.functional.interpolate(torch.from_numpy(scaled)[None, None], (16, 16), mode="area")
    with torch.inference_mode():
        expected = torch.softmax(network.eval()(seen), dim=1)[0]
    said = {finding.concept.meaning: finding.probability for finding in opinion.findings}
    assert said == pytest.approx(dict(zip("abc", expected.tolist(), strict=True)), abs=1e-4)
    assert not any(finding.calibrated for finding in opinion.findings) and "not calibrated" in opinion.caution
    coloured = Image(np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8), "c", units="RGB")
    assert member.examine(case(coloured, modality="DX")).abstained == "it takes grey pictures; this one is coloured"


def test_a_network_that_gives_more_numbers_than_concepts_is_not_believed(tmp_path: Path, home: Path) -> None:
    member = added(classifying(tmp_path, classes=4), home, "classes")
    opinion = member.examine(case(Image(np.zeros((16, 16), np.uint8), "u"), modality="CR"))
    assert opinion.abstained and "its card names 3 concepts" in opinion.abstained


def test_it_abstains_where_it_may_not_see_or_its_numbers_are_none(tmp_path: Path, home: Path) -> None:
    weights = bundles.THRESHOLD_WEIGHTS | {"bias": torch.tensor([0.0, float("nan")])}
    member = added(bundles.write(tmp_path / "organ", weights=weights), home)
    assert member.examine(case(bundles.volume())).abstained == "its model gave numbers that are not finite"
    assert member.examine(case(bundles.volume(), modality="MR")).abstained == "it is for CT; the modality is MR"
    flat = Image(np.zeros((8, 8), np.uint8), "u")
    assert member.examine(case(flat)).abstained == "it takes volumes; the case holds pictures alone"
    assert member.examine(case()).abstained == "the case holds no picture"
    meta = bundles.metadata()
    meta["network_data_format"]["outputs"]["pred"]["channel_def"] = {"0": "background", "1": "a", "2": "b"}
    more = added(bundles.write(tmp_path / "more", meta=meta), home, "more")
    assert (
        more.examine(case(bundles.volume())).abstained
        == "its model gave 2 maps, its card names 2 concepts and background"
    )


TARGETS = (
    "os.system",
    "builtins.eval",
    "subprocess.Popen",
    "scripts.network.Net",
    "monai.bundle.run",
    "monai.networks.nets.dynunet.torch.hub.load",
    "monai.transforms.utility.array.np.fromfile",
    "monai.transforms.SaveImage.__init__",
    "torch.nn.functional.torch.load",
    "torch.nn.Module.__subclasses__",
    "monai.networks.nets.Transchex",
    "NoSuchNet",
)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_that_is_not_open_is_refused_by_name(tmp_path: Path, home: Path, target: str) -> None:
    folder = bundles.write(tmp_path / "organ", bundles.inference({"_target_": target, "command": "x"}))
    with pytest.raises(MemberError) as caught:
        bundle.add(folder, home)
    assert target in str(caught.value) and "could run code" in str(caught.value)
    assert not (home / "specialists/organ").exists()


CODE = (
    "$__import__('pathlib').Path('@bundle_root/touched').touch()",
    "$open('touched', 'w')",
    "$().__class__.__base__.__subclasses__()",
    "$[i for i in range(3)]",
    "$lambda x: x",
    "$glob.glob('/')",
    "$monai.bundle.run()",
    "$torch.load('x')",
    "$'a' * 10 ** 9",
    "$1 +",
    "%metadata.json#version",
)


@pytest.mark.parametrize("text", CODE)
def test_a_formula_that_would_run_code_is_refused(tmp_path: Path, text: str) -> None:
    plan = config.Config({"bundle_root": ".", "x": text}, "inference.json")
    with pytest.raises(MemberError, match=r"inference.json (holds|copies)"):
        plan.value("x")


def test_formulas_of_the_model_zoo_are_read() -> None:
    data = {
        "root": ".",
        "wide": True,
        "shape": [96, 64, 32],
        "a": "$@root + '/models'",
        "b": "$[1.5] * 0 if not @wide else [@shape#0, @shape::1 // 2, -1]",
        "c": "$list(range(33, 36)) + [114]",
        "d": "$torch.float32",
        "e": "$@net.to($x)" if False else "$@net.to(@root)",
        "net": {"_target_": "UNet", "channels": "@shape"},
        "f": "$monai.networks.nets.vista3d132(in_channels=len(@shape))",
        "g": "@shape",
        "loop": "@loop",
        "big": "$list(range(1000000000))",
    }
    plan = config.Config(data, "inference.json")
    assert plan.value("a") == "./models" and plan.value("b") == [96, 32, -1] and plan.value("c") == [33, 34, 35, 114]
    assert plan.value("d") is torch.float32 and plan.value("e") == {"_target_": "UNet", "channels": [96, 64, 32]}
    assert plan.value("f") == {"_target_": "monai.networks.nets.vista3d132", "in_channels": 3} and plan.value("g") == [
        96,
        64,
        32,
    ]
    with pytest.raises(MemberError, match="refers to itself"):
        plan.value("loop")
    with pytest.raises(MemberError, match="cannot be worked out"):
        plan.value("big")
    with pytest.raises(MemberError, match="refers to 'nothing'"):
        plan.value("nothing")


def test_nothing_is_fetched_for_a_network(tmp_path: Path) -> None:
    network = components.build({"_target_": "EfficientNetBN", "model_name": "efficientnet-b0", "in_channels": 1})
    assert isinstance(network, torch.nn.Module)  # whose `pretrained` is True by default
    with pytest.raises(MemberError, match="nothing is fetched"):
        components.build({"_target_": "HoVerNet", "pretrained_url": "somewhere"})


def test_weights_that_do_not_fit_are_named(tmp_path: Path, home: Path) -> None:
    folder = bundles.write(tmp_path / "organ", weights={"weight": torch.zeros(3, 1, 1, 1, 1), "gain": torch.zeros(1)})
    with pytest.raises(MemberError) as caught:
        bundle.add(folder, home)
    said = str(caught.value)
    assert "lacks bias" in said and "gain" in said and "(3, 1, 1, 1, 1), not (2, 1, 1, 1, 1)" in said


def test_a_program_is_run_only_where_the_user_says_so(tmp_path: Path, home: Path) -> None:
    folder = bundles.write(tmp_path / "organ")
    (folder / "models/model.pt").unlink()
    network = components.build(bundles.THRESHOLD)
    network.load_state_dict(bundles.THRESHOLD_WEIGHTS)
    torch.jit.script(network).save(str(folder / "models/model.ts"))
    with pytest.raises(UsageError, match="is a program"):
        bundle.add(folder, home)
    (folder / "card.toml").write_text("[bundle]\ntorchscript = true\n")  # a card may have come with the bundle
    with pytest.raises(UsageError, match=r"\[bundle\] of card.toml takes"):
        bundle.add(folder, home)
    (folder / "card.toml").unlink()
    bundle.add(folder, home, torchscript=True)
    opinion = registry.get("specialists", "organ").load(encoder=None).examine(case(bundles.volume()))
    assert bundles.dice(opinion.segmentations[0].labels == 1, bundles.volume().voxels > 0) > 0.95


def test_yaml_and_nested_or_safe_weights_are_read(tmp_path: Path, home: Path) -> None:
    import yaml
    from safetensors.torch import save_file

    folder = bundles.write(tmp_path / "organ", weights={})
    (folder / "configs/inference.json").unlink()
    (folder / "configs/inference.yaml").write_text(yaml.safe_dump(bundles.inference()))
    nested = {"model": {f"module.{name}": value for name, value in bundles.THRESHOLD_WEIGHTS.items()}}
    torch.save(nested, folder / "models/model.pt")
    assert added(folder, home, "nested").examine(case(bundles.volume())).segmentations[0].labels.any()
    save_file({k: v.contiguous() for k, v in bundles.THRESHOLD_WEIGHTS.items()}, folder / "models/model.safetensors")
    assert added(folder, home, "safe").examine(case(bundles.volume())).segmentations[0].labels.any()


def test_what_metadata_leaves_open_must_be_said(tmp_path: Path, home: Path) -> None:
    meta = bundles.metadata()
    meta["network_data_format"]["inputs"]["image"]["modality"] = "n/a"
    folder = bundles.write(tmp_path / "organ", meta=meta)
    with pytest.raises(UsageError, match=r"modality 'n/a', which is no term of DICOM"):
        bundle.add(folder, home)
    setting = 'modality = "CT"\n[bundle]\ncolour = 1\n'
    many = 'modality = "CT"\nconcepts = ["a", "b"]\n'
    wrong = ((setting, "takes labels"), (many, "name as many"))
    for text, words in wrong:
        (folder / "card.toml").write_text(text)
        with pytest.raises(UsageError, match=words):
            bundle.add(folder, home)
    with pytest.raises(MemberError, match=r"metadata.json cannot be read"):
        bundle.add(tmp_path, home)


def test_without_monai_the_extra_is_named(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("monai"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MemberError, match=r"pip install -e .\.\[segment\]"):
        bundle.add(bundles.write(tmp_path / "organ"), home)


def test_prompts_of_vista3d_are_names_numbers_groups_and_wholes() -> None:
    assert vista3d.prompts("liver, 3") == (1, 3) and vista3d.prompts([26]) == (26,)
    assert vista3d.prompts("Hepatic Tumor") == (1, 26) and vista3d.prompts("lung") == (28, 29, 30, 31, 32)
    assert len(vista3d.prompts()) == 117 and not {2, 20, 132} & set(vista3d.prompts())
    for wrong in ("heart attack", "0", "133"):
        with pytest.raises(UsageError, match="VISTA3D has no class"):
            vista3d.prompts(wrong)


def test_vista3d_is_asked_by_class_prompts(tmp_path: Path, home: Path) -> None:
    plan = bundles.inference("$monai.networks.nets.vista3d132(encoder_embed_dim=8, in_channels=@input_channels)")
    plan["input_channels"] = 1
    plan["inferer"] = {"_target_": "scripts.inferer.Vista3dInferer"}
    steps = plan["preprocessing"]["transforms"]
    steps.insert(4, {"_target_": "monai.apps.vista3d.transforms.VistaPreTransformd", "keys": "image"})
    after = {"_target_": "monai.apps.vista3d.transforms.VistaPostTransformd", "keys": "pred"}
    plan["postprocessing"] = {"_target_": "Compose", "transforms": [after]}
    torch.manual_seed(0)
    network = components.build({"_target_": "vista3d132", "encoder_embed_dim": 8, "in_channels": 1})
    folder = bundles.write(tmp_path / "vista3d", plan, weights=network.state_dict())
    with pytest.raises(MemberError, match="Vista3dInferer"):
        bundle.add(folder, home)
    (folder / "card.toml").write_text('[bundle]\nrecipe = "vista3d"\n')
    member = added(folder, home, "vista3d")
    assert len(member.card.concepts) == 132 and member.card.concepts[131].meaning == "airway"
    opinion = member.examine(case(bundles.volume()), {"labels": "liver, spleen, hepatic tumor"})
    (found,) = opinion.segmentations
    assert [code.meaning for code in found.concepts] == ["liver", "spleen", "hepatic tumor"]
    assert found.labels.shape == bundles.volume().voxels.shape and found.labels.any() and found.labels.max() <= 3
    made = json.loads((home / "specialists/vista3d/card.json").read_text())
    assert made["labels"]["26"] == "hepatic tumor" and "labels" in member.card.arguments


def test_a_network_for_pictures_says_which_slices_of_a_volume_it_saw() -> None:
    volume = Volume(np.zeros((100, 8, 8), np.int16), "v", (1.0, 1.0, 1.0), np.eye(4))
    assert "of the volume slices 36, 51, 65 alone" in bundle_input._seen_of_volume(Study("CT", None, (volume,)))
    assert bundle_input._seen_of_volume(Study("CR", None, (Image(np.zeros((8, 8), np.uint8), "p"),))) == ""
