"""Tiny MONAI bundles in the real layout, written by the tests that ask them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from consilium.types import Array, Volume

# A network of one number a voxel: label 1 where the scaled intensity is above one half.
THRESHOLD = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 2, "kernel_size": 1}
THRESHOLD_WEIGHTS = {"weight": torch.tensor([0.0, 40.0]).reshape(2, 1, 1, 1, 1), "bias": torch.tensor([0.0, -20.0])}
UNET = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [4, 8],
    "strides": [2],
    "norm": "batch",
}


def metadata(**changes: Any) -> dict[str, Any]:
    """metadata.json of a bundle that outlines one organ in CT."""
    entry = {
        "type": "image",
        "format": "hounsfield",
        "modality": "CT",
        "num_channels": 1,
        "spatial_shape": [16, 16, 16],
    }
    said = {"type": "image", "format": "segmentation", "num_channels": 2, "spatial_shape": [16, 16, 16]}
    said["channel_def"] = {"0": "background", "1": "bright organ"}
    return {
        "version": "0.3.1",
        "task": "Outlines a bright organ",
        "description": "Outlines a bright organ in CT, for tests",
        "copyright": "nobody",
        "intended_use": "tests",
        "eval_metrics": {"mean_dice": 0.9},
        "network_data_format": {"inputs": {"image": entry}, "outputs": {"pred": said}},
    } | changes


def inference(network: Any = THRESHOLD, **changes: Any) -> dict[str, Any]:
    """inference.json as those of the model zoo are written: with parts that run code, which are never reached."""
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/nowhere",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "highres": False,
        "pixdim": "$[1.0, 1.0, 1.0] if @highres else [2.0, 2.0, 2.0]",
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
                {"_target_": "Spacingd", "keys": "image", "pixdim": "@pixdim", "mode": "bilinear"},
                {
                    "_target_": "ScaleIntensityRanged",
                    "keys": "image",
                    "a_min": -100,
                    "a_max": 300,
                    "b_min": 0,
                    "b_max": 1,
                    "clip": True,
                },
                {"_target_": "EnsureTyped", "keys": "image", "device": "@device"},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "sw_batch_size": 4, "overlap": 0.5},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "image",
                    "nearest_interp": False,
                    "to_tensor": True,
                },
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
            ],
        },
        "evaluator": {"_target_": "scripts.evaluator.Evaluator", "network": "@network"},
        "run": ["$@evaluator.run()"],
    } | changes


def write(
    folder: Path,
    config: dict[str, Any] | None = None,
    meta: dict[str, Any] | None = None,
    weights: dict[str, torch.Tensor] | None = None,
) -> Path:
    """The bundle's folder, with configs/ and models/model.pt."""
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs/inference.json").write_text(json.dumps(config or inference()))
    (folder / "configs/metadata.json").write_text(json.dumps(meta or metadata()))
    torch.save(THRESHOLD_WEIGHTS if weights is None else weights, folder / "models/model.pt")
    return folder


def volume(box: tuple[slice, slice, slice] = np.s_[4:10, 8:20, 6:14], uid: str = "1.2.3") -> Volume:
    """A CT (12 slices of 28 rows and 24 columns, 4 x 2 x 2 mm), axes towards left, back and head, with a bright box."""
    voxels = np.full((12, 28, 24), -50, np.int16)
    voxels[box] = 250
    orientation = np.array([[-2.0, 0, 0, 24], [0, -2, 0, 28], [0, 0, 4, -20], [0, 0, 0, 1]])
    return Volume(voxels, uid, (4.0, 2.0, 2.0), orientation, units="HU")


def as_nifti(shown: Volume, path: Path) -> Path:
    """The volume as a file that MONAI reads."""
    import nibabel

    nibabel.save(nibabel.Nifti1Image(shown.voxels.T.astype(np.float32), shown.orientation), path)
    return path


def dice(a: Array, b: Array) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))
