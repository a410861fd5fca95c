"""How well does medsam outline what it is shown, and does it know when it does not?

python benchmarks/medsam.py [--data ../shared/data] [--most 100] [--calibrate 20] [--empty 20] [--volumes 4]

Boxes are those of the reference masks, moved outwards by 0 to 5 pixels of 256 a side, as LiteMedSAM's authors draw them; beside
them tight boxes, boxes 10 pixels too wide, empty boxes (of the reference's size or smaller, drawn where nothing of it is: what is
outlined there has a Dice of 0), and a point at the reference's deepest place. One lesion or lung a box: the largest
connected part (of lungs, the two largest). What the decoder foresees is mapped to Dice on the validation rows, and judged on
the test rows. Volumes: the box of the reference's largest slice, carried to its first and last slice.
Every outcome is kept under CONSILIUM_CACHE/medsam: interrupted, it goes on. Writes results/medsam.json, and prints what stands in
specialists/medsam.py (a test holds the two to each other).
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consilium import formats, weights
from consilium.metrics.bootstrap import interval
from consilium.metrics.segmentation import dice
from consilium.nn.lite_medsam import SIDE, Prompted, restored
from consilium.nn.prompted_slices import box_of, carried
from consilium.settings import settings
from consilium.specialists.medsam import LEAST, WEIGHTS
from consilium.types import Array, Image, Score, Volume

SEED = 20240
JITTER, WIDE = 5, 10
SMALLEST_PIXELS = 30
GOOD = 0.8
KNOTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)
KINDS = ("box", "tight box", "wide box", "point")
EMPTY = "empty box"
SHRUNK, TRIES = (1.0, 0.5, 0.25), 60
PARTS = {"skin_ham10000": 1, "lgg_mri_genomics": 1, "cxr_lungmask_v7_covid": 2}
TUMOURS = ("brain1", "brain2", "breast1")


@dataclass(frozen=True)
class Row:
    """One picture with its reference mask, and whom it belongs to."""

    name: str
    split: str
    picture: Path
    mask: Path
    group: str


def rows(data: Path, name: str, split: str, most: int) -> list[Row]:
    """At most `most` pictures with a mask, in a drawn order; of skin lesions one picture each."""
    with (data / name / "index.csv").open(encoding="utf-8", newline="") as lines:
        found = [_row(data, name, row) for row in csv.DictReader(lines) if row["split"] == split and _mask(name, row)]
    if name == "skin_ham10000":
        found = list({row.group: row for row in reversed(found)}.values())[::-1]
    order = np.random.default_rng(SEED).permutation(len(found))
    return [found[i] for i in order[:most]]


def _mask(name: str, row: dict[str, str]) -> str:
    return row["path"] if name == "cxr_lungmask_v7_covid" else row["mask_path"]


def _row(data: Path, name: str, row: dict[str, str]) -> Row:
    lungs = name == "cxr_lungmask_v7_covid"
    picture = data / (row["image_in_pack"] if lungs else f"{name}/{row['path']}")
    return Row(name, row["split"], picture, data / name / _mask(name, row), row.get("lesion_id") or row["patient_id"])


def picture(path: Path) -> Image:
    return formats.read(path)[0].images[0]  # type: ignore[return-value]


def reference(row: Row) -> Array:
    """The mask. Of lung masks 255 is lung and 127 a device, left out."""
    shades = picture(row.mask).pixels
    return (shades if shades.ndim == 2 else shades[..., 0]) > (200 if row.name == "cxr_lungmask_v7_covid" else 127)


def parts(mask: Array, most: int) -> list[Array]:
    """Its largest connected parts."""
    from scipy.ndimage import label

    labels, _ = label(mask)
    sizes = np.bincount(labels.ravel())[1:]
    largest = np.argsort(-sizes, kind="stable")[:most]
    return [labels == i + 1 for i in largest if sizes[i] >= SMALLEST_PIXELS]


def boxes(part: Array, draw: np.random.Generator) -> Array:
    """(3, 4): the jittered, the tight and the wide box."""
    rows_, columns = part.shape
    outwards = np.array([-1, -1, 1, 1]) * max(part.shape) / SIDE
    grown = [outwards * draw.integers(0, JITTER + 1, 4), np.zeros(4), outwards * WIDE]
    return np.clip(box_of(part) + grown, 0, [columns - 1, rows_ - 1, columns - 1, rows_ - 1])


def empty(whole: Array, box: Array, draw: np.random.Generator) -> Array:
    """(1, 4): a box of this size, else of a half or a quarter, that holds nothing of the mask; (0, 4) where none was found."""
    rows_, columns = whole.shape
    for shrunk in SHRUNK:
        size = (box[2:] - box[:2]) * shrunk
        for _ in range(TRIES):
            x, y = draw.uniform(0, np.maximum([columns - 1, rows_ - 1] - size, 0))
            if not whole[int(y) : int(y + size[1]) + 2, int(x) : int(x + size[0]) + 2].any():
                return np.array([[x, y, min(x + size[0], columns - 1), min(y + size[1], rows_ - 1)]])
    return np.zeros((0, 4))


def deepest(mask: Array) -> Array:
    """(1, 2): x, y of the place farthest from the mask's rim."""
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return np.array([[column, row]], float)


def outcomes(prompted: Prompted, row: Row) -> Iterator[dict[str, Any]]:
    """What became of each target of a picture: Dice and foreseen quality of each kind of prompt."""
    image = picture(row.picture)
    draw = np.random.default_rng([SEED, *row.picture.stem.encode()])
    for number, part in enumerate(parts(reference(row), PARTS[row.name])):
        start = time.process_time()
        boxed, passed = prompted.boxed(image, boxes(part, draw)), time.process_time()
        pointed, ended = prompted.pointed(image, deepest(part)), time.process_time()
        masks, quality = [*boxed.masks, *pointed.masks], [*boxed.quality.tolist(), *pointed.quality.tolist()]
        yield _outcome(row, number, {kind: dice(part, one) for kind, one in zip(KINDS, masks, strict=True)}) | {
            "quality": dict(zip(KINDS, quality, strict=True)),
            "cpu_s": [passed - start, ended - passed],
        }


def of_empty(prompted: Prompted, row: Row) -> Iterator[dict[str, Any]]:
    """The quality that is foreseen where there is nothing of the target."""
    whole = reference(row)
    draw = np.random.default_rng([SEED, 1, *row.picture.stem.encode()])
    for number, part in enumerate(parts(whole, PARTS[row.name])):
        for box in empty(whole, box_of(part), draw):
            quality = float(prompted.boxed(picture(row.picture), box[None]).quality[0])
            yield _outcome(row, number, {EMPTY: 0.0}) | {"quality": {EMPTY: quality}}


def _outcome(row: Row, number: int, found: dict[str, float]) -> dict[str, Any]:
    name = f"{row.name}/{row.picture.stem}/{number}"
    return {"set": row.name, "split": row.split, "group": row.group, "row": name, "dice": found}


def turns(data: Path, counts: dict[str, int]) -> list[Row]:
    """So many pictures of each split and set, in turn, so that a part of them is worth something."""
    wanted = [rows(data, name, split, count) for split, count in counts.items() for name in PARTS]
    return [group[i] for i in range(max(counts.values(), default=0)) for group in wanted if i < len(group)]


def all_of(
    of: Callable[[Prompted, Row], Iterator[Any]], get: Callable[[], Prompted], chosen: list[Row], kept: Path
) -> list[Any]:
    """The outcome of every picture; those kept by an earlier run are not made again."""
    return _kept(kept, [(f"{r.name}/{r.picture.stem}", lambda r=r: list(of(get(), r))) for r in chosen])


def _kept(path: Path, work: list[tuple[str, Callable[[], Any]]]) -> list[Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    known: dict[str, Any] = dict(json.loads(line) for line in lines)
    with path.open("a", encoding="utf-8") as file:
        for key, do in work:
            if key not in known:
                known[key] = do()
                file.write(json.dumps([key, known[key]]) + "\n")
                file.flush()
    return [item for key, _ in work for item in known[key]]


def volume_outcomes(
    prompted: Prompted, name: str, volume: Volume, truth: Array, span: tuple[int, int]
) -> dict[str, Any]:
    """Dice in space of the outline carried over `span`, by the member's own rule of where it ends."""
    from consilium.specialists.medsam import BOXED

    largest = int(truth.sum(axis=(1, 2)).argmax())
    seed = prompted.boxed(volume.slice(largest), box_of(truth[largest])[None])
    through = carried(prompted, volume, (largest, seed.masks[0]), span, BOXED, LEAST)
    return {
        "row": name,
        "dice": dice(truth, through.mask),
        "seed_dice": dice(truth[largest], seed.masks[0]),
        "slices": span[1] - span[0] + 1,
        "outlined": 1 + len(through.worth),
    }


def volumes(prompted: Callable[[], Prompted], data: Path, most: int, kept: Path) -> list[dict[str, Any]]:
    with (data / "hippocampus_mri3d/index.csv").open(encoding="utf-8", newline="") as lines:
        test = [row for row in csv.DictReader(lines) if row["split"] == "test"][:most]
    pairs = [(f"hippocampus_mri3d/{r['patient_id']}", r["path"], r["mask_path"]) for r in test]
    pairs = [(name, f"hippocampus_mri3d/{a}", f"hippocampus_mri3d/{b}") for name, a, b in pairs]
    if most:
        pairs += [(f"tumour/{n}", f"nifti_samples/{n}_image.nrrd", f"nifti_samples/{n}_label.nrrd") for n in TUMOURS]

    def judged(name: str, shown: Path, reference: Path) -> list[dict[str, Any]]:
        volume, mask = (formats.read(path)[0].images[0] for path in (shown, reference))
        truth = mask.voxels > 0  # type: ignore[union-attr]
        deep = np.flatnonzero(truth.any(axis=(1, 2)))
        return [volume_outcomes(prompted(), name, volume, truth, (int(deep[0]), int(deep[-1])))]  # type: ignore[arg-type]

    return _kept(kept, [(n, lambda n=n, a=a, b=b: judged(n, data / a, data / b)) for n, a, b in pairs])


def fitted(quality: Array, measured: Array) -> dict[str, list[float]]:
    """Foreseen quality to Dice: isotonic regression, read off at a few quantiles; below the lowest seen, down to 0 at 0."""
    from sklearn.isotonic import IsotonicRegression

    curve = IsotonicRegression(out_of_bounds="clip").fit(quality, measured)
    knots = np.round(np.quantile(quality, KNOTS), 3)
    return {"foreseen": [0.0, *knots.tolist()], "dice": [0.0, *np.round(curve.predict(knots), 3).tolist()]}


def mean_of(name: str, values: Array, groups: list[str]) -> Score:
    return interval(name, lambda chosen: float(values[chosen].mean()) if len(chosen) else float("nan"), groups)


def judged(found: list[dict[str, Any]], kind: str, curve: dict[str, list[float]]) -> dict[str, Any]:
    """Of one kind of prompt on test rows: Dice, and what the expected Dice is worth."""
    from sklearn.metrics import roc_auc_score

    found = [one for one in found if kind in one["dice"]]
    measured = np.array([one["dice"][kind] for one in found])
    expected = np.interp([one["quality"][kind] for one in found], curve["foreseen"], curve["dice"])
    groups = [f"{one['set']}/{one['group']}" for one in found]
    given = expected >= LEAST

    def auroc(chosen: Array) -> float:
        good = measured[chosen] >= GOOD
        return float(roc_auc_score(good, expected[chosen])) if 0 < good.sum() < len(good) else float("nan")

    scores = [
        mean_of("Dice", measured, groups),
        mean_of(f"Dice at least {GOOD}", (measured >= GOOD).astype(float), groups),
        mean_of("expected minus measured Dice", expected - measured, groups),
        mean_of("expected Dice off by", np.abs(expected - measured), groups),
        mean_of("abstained", (~given).astype(float), groups),
        interval(f"AUROC of expected Dice for Dice at least {GOOD}", auroc, groups),
    ]
    if given.any():
        scores.append(
            mean_of(
                "Dice where it does not abstain", measured[given], [g for g, k in zip(groups, given, strict=True) if k]
            )
        )
    if not given.all():
        scores.append(
            mean_of(
                "Dice where it abstains", measured[~given], [g for g, k in zip(groups, given, strict=True) if not k]
            )
        )
    return {score.metric: _facts(score) for score in scores}


def _facts(score: Score) -> dict[str, Any]:
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in asdict(score).items() if key != "metric"}


def report(found: list[dict[str, Any]], deep: list[dict[str, Any]]) -> dict[str, Any]:
    val, test = ([one for one in found if one["split"] == split] for split in ("val", "test"))

    def pooled(kinds: tuple[str, ...]) -> dict[str, list[float]]:
        pairs = [(one["quality"][kind], one["dice"][kind]) for one in val for kind in kinds if kind in one["dice"]]
        return fitted(*np.array(pairs).T)

    curves = {"box": pooled((*KINDS[:3], EMPTY)), "point": pooled(("point",))}
    sets = {name: [one for one in test if one["set"] == name] for name in PARTS} | {"all": test}
    timed = [one["cpu_s"] for one in found if "cpu_s" in one]
    first_pass = [one["cpu_s"][0] for one in found if "cpu_s" in one and one["row"].endswith("/0")]
    by_set = {kind: [one for one in deep if one["row"].startswith(kind)] for kind in ("hippocampus", "tumour")}
    return {
        "calibration": {"rows": len(val), **curves},
        "test": {
            name: {
                kind: judged(some, kind, curves["point" if kind == "point" else "box"])
                for kind in (*KINDS, EMPTY)
                if any(kind in one["dice"] for one in some)
            }
            for name, some in sets.items()
        },
        "volumes": {
            name: _facts(mean_of("Dice", np.array([one["dice"] for one in some]), [one["row"] for one in some]))
            for name, some in by_set.items()
            if some
        }
        | {"each": deep},
        "cpu_s": {
            "encoder and three boxes": float(np.median(first_pass)),
            "a point": float(np.median([seconds[1] for seconds in timed])),
            "n": len(first_pass),
        },
    }


def lines_of_the_member(told: dict[str, Any]) -> list[str]:
    """What specialists/medsam.py says of itself, from these results."""
    curves = [f"{name} = Expected({tuple(c['foreseen'])}, {tuple(c['dice'])})" for name, c in _curves(told).items()]
    return [*curves, *(f"{score}," for score in scores_of(told))]


def _curves(told: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    return {"BOXED": told["calibration"]["box"], "POINTED": told["calibration"]["point"]}


def scores_of(told: dict[str, Any]) -> list[Score]:
    """The figures of its card: Dice of a box on each set, of a point on all, and what its expected Dice is worth."""
    test = told["test"]
    said = {f"Dice of a box, {name}": test[name]["box"]["Dice"] for name in PARTS}
    said["Dice of a point, all sets"] = test["all"]["point"]["Dice"]
    said["expected Dice of a box off by, all sets"] = test["all"]["box"]["expected Dice off by"]
    if EMPTY in test["all"]:
        said["abstained on empty boxes, all sets"] = test["all"][EMPTY]["abstained"]
    return [Score(name, **{key: fact[key] for key in ("value", "low", "high", "n")}) for name, fact in said.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--most", type=int, default=100, help="test pictures a set")
    parser.add_argument("--calibrate", type=int, default=20, help="validation pictures a set")
    parser.add_argument("--empty", type=int, default=20, help="of these, pictures with an empty box")
    parser.add_argument("--volumes", type=int, default=4, help="hippocampi; 0: no volumes")
    parser.add_argument("--out", type=Path, default=Path("results/medsam.json"))
    options = parser.parse_args()
    folder = weights.folder(WEIGHTS)
    made: list[Prompted] = []

    def prompted() -> Prompted:
        if not made:
            made.append(Prompted(restored(folder)))
        return made[0]

    kept = settings().cache / "medsam" / weights.fingerprint(folder)[:8]
    right = turns(options.data, {"val": options.calibrate, "test": options.most})
    wrong = turns(options.data, {"val": options.empty, "test": options.empty})
    found = all_of(outcomes, prompted, right, kept / "pictures.jsonl") + all_of(
        of_empty, prompted, wrong, kept / "empty.jsonl"
    )
    deep = volumes(prompted, options.data, options.volumes, kept / "volumes.jsonl")
    counts = (
        f"--most {options.most} --calibrate {options.calibrate} --empty {options.empty} --volumes {options.volumes}"
    )
    command = f"python benchmarks/medsam.py {counts}"
    told = {"command": command, **report(found, deep)}
    options.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print("\n".join(lines_of_the_member(told)))


if __name__ == "__main__":
    main()
