"""What the studies of the native generalist share: cases, a council around a checkpoint, kept records, figures as JSON.

Every answer is kept as a line of a JSONL file, so that a killed study goes on where it stood and its figures can be
computed again without a model (`--rescore`). Records of another checkpoint or another wording are set aside, not used.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from consilium import formats, registry
from consilium.consult import prompt
from consilium.consult.panel import Panel, assemble
from consilium.datasets.folder import Record, read_folder
from consilium.metrics import classification
from consilium.metrics.paired import Comparison
from consilium.protocols import Encoder, Generalist, Retriever, Specialist
from consilium.types import Array, Completion, Image, Message, Score, Study

T = TypeVar("T")


@dataclass(frozen=True)
class Diagnosis:
    """A closed-set diagnosis on one set: what is asked, `options` by label in the order they are shown, which label is no
    disease ("" for none), which light specialist knows the classes, and `where`: which rows of the index (all by default)."""

    folder: str
    modality: str
    body_part: str
    question: str
    options: Mapping[str, str]
    normal: str
    specialist: str
    where: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.options)

    def label_of(self, option: str | None) -> str | None:
        return next((label for label, words in self.options.items() if words == option), None)


DIAGNOSES = (
    Diagnosis(
        "cxr_pneumonia_kermany",
        "CR",
        "CHEST",
        "What does this chest X-ray show?",
        {
            "normal": "normal",
            "bacterial_pneumonia": "bacterial pneumonia",
            "viral_pneumonia": "viral pneumonia",
        },
        "normal",
        "cxr_pneumonia",
    ),
    Diagnosis(
        "brain_tumor_mri",
        "MR",
        "HEAD",
        "Which tumour does the slice show?",
        {"glioma": "glioma", "meningioma": "meningioma", "pituitary": "pituitary", "notumor": "notumor"},
        "notumor",
        "brain_tumor_mr",
    ),
    Diagnosis(
        "lung_ct_iqoth",
        "CT",
        "CHEST",
        "What does the slice show?",
        {"benign": "benign", "malignant": "malignant", "normal": "normal"},
        "normal",
        "lung_ct",
    ),
    Diagnosis(
        "breast_ultrasound_busi",
        "US",
        "BREAST",
        "What does the picture show?",
        {"benign": "benign", "malignant": "malignant", "normal": "normal"},
        "normal",
        "breast_us",
    ),
)


def parser(doc: str | None, study: str) -> argparse.ArgumentParser:
    """The options that every study takes."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--checkpoint", action="append", required=True, metavar="NAME=FOLDER", help="repeatable")
    made.add_argument("--data", type=Path, default=Path("../shared/data"))
    made.add_argument("--split", choices=("val", "test"), default="test", help="val while developing")
    made.add_argument("--cases", type=int, help="so many of each set, evenly thinned, for a quick run")
    made.add_argument("--out", type=Path, help=f"default: results/{study}.json; a val or quick run: beside the records")
    made.add_argument("--records", type=Path, default=Path(".venv/records"))
    made.add_argument("--load", action="append", default=[], metavar="KEY=VALUE", help="how native is loaded, as JSON")
    made.add_argument("--rescore", action="store_true", help="only the figures, from the records that are there")
    return made


def checkpoints(options: argparse.Namespace, default: str = "native") -> dict[str, Path]:
    """Name -> folder of every --checkpoint; one without a name is called `default`."""
    pairs = [text.partition("=") if "=" in text else (default, "=", text) for text in options.checkpoint]
    found = {name: Path(folder) for name, _, folder in pairs}
    if len(found) < len(pairs):
        raise SystemExit("two checkpoints bear one name; give each its own: --checkpoint NAME=FOLDER.")
    return found


def fingerprint(folder: Path) -> str:
    """The digest of a checkpoint's weights."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def thin(items: Sequence[T], count: int | None) -> list[T]:
    """`count` of the items, evenly spread; all of them without a count."""
    if count is None or count >= len(items):
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


@dataclass
class Bench(Panel):
    """A panel whose generalist is made by the study, when it is first asked."""

    chief: Callable[[], Generalist] | None = None

    @property
    def generalist(self) -> Generalist:
        assert self.chief is not None
        return self.chief()


def only_shipped() -> None:
    """From here on the registry finds nobody that the user of this machine has trained."""
    os.environ["CONSILIUM_HOME"] = str(Path(".venv/records/nobody").resolve())


@functools.cache
def base() -> Panel:
    """The shipped council on the shared encoder; its generalist is not used."""
    return assemble(generalist="echo")


@functools.cache
def native(folder: Path, load: tuple[str, ...] = (), most: int = 128) -> Generalist:
    """The native generalist of a checkpoint folder on the shared encoder, which writes at most `most` tokens.

    load  further options of its load(), such as "length_normalised=false" or "quantise=\"int8\"".
    """
    how = {key: json.loads(value) for key, _, value in (text.partition("=") for text in load)}
    return Brief(registry.get("generalists", "native").load(folder=folder, encoder=base().encoder, **how), most)


def bench(
    chief: Callable[[], Generalist],
    specialists: Mapping[str, Specialist] | None = None,
    retriever: Retriever | None = None,
) -> Bench:
    """A council of a generalist, the shared encoder and router, and the given specialists."""
    made = Bench(base().encoder, {}, "native", retriever, base().router, chief=chief)
    for name, specialist in (specialists or {}).items():
        made.seat(name, specialist)
    return made


@dataclass(frozen=True)
class Brief:
    """A generalist that writes at most `most` tokens."""

    inner: Generalist
    most: int

    @property
    def card(self) -> Any:
        return self.inner.card

    @property
    def sees_images(self) -> bool:
        return self.inner.sees_images

    def generate(self, messages: Sequence[Message], max_tokens: int = 128) -> Completion:
        return self.inner.generate(messages, min(max_tokens, self.most))

    def score(self, messages: Sequence[Message], options: Sequence[str]) -> tuple[float, ...]:
        return self.inner.score(messages, options)


@dataclass
class Records:
    """Answers by key in a JSONL file whose first line says what they were made with."""

    path: Path
    made_with: Mapping[str, str]
    rescore: bool = False
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lines = self._whole_lines()
        if lines and not self.rescore and json.loads(lines[0]) != dict(self.made_with):
            self.path.rename(self.path.with_suffix(f".{json.loads(lines[0]).get('checkpoint', 'old')}.jsonl"))
            lines = []
        if not lines and not self.rescore:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(dict(self.made_with)) + "\n", encoding="utf-8")
        for line in lines[1:]:
            record = json.loads(line)
            self.kept[record.pop("key")] = record

    def _whole_lines(self) -> list[str]:
        """The lines of the file, after cutting off one that a kill left unfinished."""
        text = self.path.read_text(encoding="utf-8") if self.path.is_file() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self.path.write_text(whole, encoding="utf-8")
        return whole.splitlines()

    def of(
        self, items: Sequence[T], key: Callable[[T], str], answer: Callable[[T], Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """The record of every item in order; those that are not there are answered now."""
        missing = [item for item in items if key(item) not in self.kept]
        if missing and self.rescore:
            raise SystemExit(f"{self.path} lacks {len(missing)} answers of {len(items)}; run without --rescore.")
        if missing:
            with self.path.open("a", encoding="utf-8") as file:
                for item in tqdm(missing, desc=self.path.stem, smoothing=0.05):
                    found = dict(answer(item))
                    file.write(json.dumps({"key": key(item), **found}) + "\n")
                    file.flush()
                    self.kept[key(item)] = found
        return [self.kept[key(item)] for item in items]


def records(options: argparse.Namespace, study: str, who: str, folder: Path | None = None, words: str = "") -> Records:
    """The records of one answerer; `words`: what of the study's own wording its answers hang on."""
    wording = hashlib.sha256(f"{Path(prompt.__file__).read_text(encoding='utf-8')} {words}".encode()).hexdigest()[:12]
    made_with = {"who": who, "wording": wording, "load": " ".join(options.load) if folder else ""}
    if folder is not None and not options.rescore:
        made_with["checkpoint"] = fingerprint(folder)
    return Records(options.records / study / options.split / f"{who}.jsonl", made_with, options.rescore)


def pictures(options: argparse.Namespace, diagnosis: Diagnosis) -> tuple[list[Record], list[Record]]:
    """(train, the split under study) of a set; the second thinned."""
    data = read_folder(options.data / diagnosis.folder, where=diagnosis.where)
    return list(data.of("train")), thin(data.of(options.split), options.cases)


def read(path: Path, modality: str | None = None, body_part: str | None = None) -> tuple[Study, ...]:
    return tuple(formats.read(path, modality=modality, body_part=body_part))


def pooled(encoder: Encoder, paths: Sequence[Path], title: str = "") -> Array:
    """(n, d) float32 unit features of the first picture of each file; a progress bar where there is a title."""
    rows = []
    for path in tqdm(paths, desc=f"features of {title}", disable=not title):
        image = read(path)[0].images[0]
        assert isinstance(image, Image)
        rows.append(encoder.embed([image], patches="train" not in title).pooled[0])
    features = np.stack(rows)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


@dataclass(frozen=True, eq=False)
class Judged:
    """Pictures of several sets with their true labels. A figure over all of them is the mean over the sets."""

    sets: tuple[str, ...]
    truth: tuple[str, ...]
    groups: tuple[str, ...]

    def macro_f1(self, rows: Array, said: Array) -> float:
        """Mean over the sets of macro-F1 over their classes; `said` (n,) labels, "" for an abstention, which is wrong."""
        return self._mean(rows, lambda inside: _macro_f1(self._true[inside], said[inside]))

    def accuracy(self, rows: Array, said: Array) -> float:
        return self._mean(rows, lambda inside: float((self._true[inside] == said[inside]).mean()))

    def of(self, name: str) -> Array:
        """(k,) the rows of one set."""
        return np.flatnonzero(self._set == name)

    def _mean(self, rows: Array, figure: Callable[[Array], float]) -> float:
        parts = [rows[self._set[rows] == name] for name in dict.fromkeys(self.sets)]
        return float(np.mean([figure(inside) for inside in parts if len(inside)]))

    @functools.cached_property
    def _true(self) -> Array:
        return np.array(self.truth)

    @functools.cached_property
    def _set(self) -> Array:
        return np.array(self.sets)


def _macro_f1(truth: Array, said: Array) -> float:
    labels = [label for label in np.unique(np.concatenate([truth, said])) if label]
    targets, claims = ((column[:, None] == labels).astype(float) for column in (truth, said))
    return classification.macro_f1(targets, claims, exclusive=False)


def figure(score: Score, **more: Any) -> dict[str, Any]:
    """A Score as the results files hold it; NaN as null."""
    numbers = {key: getattr(score, key) for key in ("value", "low", "high")}
    return {key: None if math.isnan(number) else number for key, number in numbers.items()} | {"n": score.n} | more


def compared(found: Comparison, **more: Any) -> dict[str, Any]:
    return figure(found.score, p=None if math.isnan(found.p) else found.p, **more)


def write(options: argparse.Namespace, study: str, report: Mapping[str, Any]) -> None:
    """Writes and shows the report. What is not the whole test lands beside the records, where the README does not read."""
    whole = options.split == "test" and options.cases is None
    name = study if whole else f"{study}.{options.split}{'' if options.cases is None else f'.{options.cases}'}"
    out = options.out or (Path("results") if whole else options.records) / f"{name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))
    print(f"written to {out}")


def command(study: str, options: argparse.Namespace) -> str:
    """The command as another would type it; where the checkpoints lie on this machine is nobody's business."""
    parts = [f"python benchmarks/{study}.py", *(f"--checkpoint {name}=FOLDER" for name in checkpoints(options))]
    parts += [f"--load '{how}'" for how in options.load]
    if getattr(options, "told", "router") != "router":
        parts.append(f"--told {options.told}")
    if options.split != "test":
        parts.append(f"--split {options.split}")
    if options.cases is not None:
        parts.append(f"--cases {options.cases}")
    return " ".join(parts)
