"""Experts on call for what the generalist never learnt: with them against without, as in native_experts.py.

python benchmarks/native_experts_unlearnt.py --checkpoint native=FOLDER [--split val] [--cases 60]

Three sets that the native generalist was not trained on, each with a light expert trained here on the train split, as with
`consilium specialist train`: lesions of the skin (a kind of picture that it never saw), the region that an MR shows, and whether
an MR slice of a glioma patient shows tumour. The experts live beside the records and are not shipped: their data are for local
use. Writes results/native_experts_unlearnt.json.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import native_common as common
from consilium import registry
from consilium.cli.common import counting
from consilium.consult.panel import DEFAULT_ENCODER
from consilium.datasets.folder import FolderDataset, read_folder
from consilium.train.specialist import Recipe, train
from native_experts import measure

STUDY = "native_experts_unlearnt"
DIAGNOSES = (
    common.Diagnosis(
        "skin_ham10000",
        "DMS",
        "SKIN",
        "Which lesion does the picture show?",
        {
            "akiec": "actinic keratosis",
            "bcc": "basal cell carcinoma",
            "bkl": "benign keratosis",
            "df": "dermatofibroma",
            "mel": "melanoma",
            "nv": "melanocytic nevus",
            "vasc": "vascular lesion",
        },
        "",
        "skin_lesions",
    ),
    common.Diagnosis(
        "medpix2_ct_mr",
        "MR",
        "",
        "Which region does the picture show?",
        {
            "Abdomen": "abdomen",
            "Head": "head",
            "Reproductive and Urinary System": "reproductive and urinary system",
            "Spine and Muscles": "spine and muscles",
            "Thorax": "thorax",
        },
        "",
        "mr_region",
        {"modality": "MR"},
    ),
    common.Diagnosis(
        "lgg_mri_genomics",
        "MR",
        "HEAD",
        "Does the slice show a tumour?",
        {"tumour": "tumour", "no_tumour": "no tumour"},
        "no_tumour",
        "glioma_slice",
    ),
)


def main() -> None:
    options = common.parser(__doc__, STUDY).parse_args()
    home = options.records / STUDY / "home"
    os.environ["CONSILIUM_HOME"] = str(home.resolve())
    encoder = registry.get("encoders", DEFAULT_ENCODER).load()
    for diagnosis in DIAGNOSES:
        if not (home / "specialists" / diagnosis.specialist / "card.json").is_file():
            with counting(f"pictures of {diagnosis.folder}") as tell:
                train(_data(options.data, diagnosis), _recipe(diagnosis), encoder, home / "specialists", tell)
    common.write(options, STUDY, measure(options, STUDY, DIAGNOSES))


def _data(data: Path, diagnosis: common.Diagnosis) -> FolderDataset:
    """The set with its classes under the names by which they are asked for."""
    found = read_folder(data / diagnosis.folder, where=diagnosis.where)
    names: Mapping[str, str] = diagnosis.options
    records = tuple(replace(r, labels=tuple(names[label] for label in r.labels)) for r in found.records)
    return replace(found, records=records, classes=tuple(sorted(names[label] for label in found.classes)))


def _recipe(diagnosis: common.Diagnosis) -> Recipe:
    parts = (diagnosis.body_part,) if diagnosis.body_part else ()
    return Recipe(diagnosis.specialist, (diagnosis.modality,), parts, licence="local use", data_licence="local use")


if __name__ == "__main__":
    main()
