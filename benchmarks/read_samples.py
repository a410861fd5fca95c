"""Read every sample file, write results/reading_samples.json, and put its table into docs/reading.md.

    python benchmarks/read_samples.py [FOLDER]     (default ../shared/data beside the checkout; about a minute)

Every file under FOLDER/dicom_samples and FOLDER/nifti_samples is read by itself, and every folder of DICOM slices
once more as a series. A file is read, or refused with a named error: anything else stops the script.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from consilium import formats
from consilium.errors import ConsiliumError
from consilium.types import Image, Study, Volume

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results/reading_samples.json"
PAGE = ROOT / "docs/reading.md"
BEGIN, END = "<!-- begin: benchmarks/read_samples.py -->", "<!-- end -->"
LIBRARIES = ("pydicom", "python-gdcm", "pylibjpeg-openjpeg", "pyjpegls", "nibabel", "pynrrd", "pillow", "tifffile")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT.parent / "shared/data")
    folder = parser.parse_args().folder
    rows = []
    for path in samples(folder):
        rows.append(row(folder, path))
        print(rows[-1]["outcome"], rows[-1]["path"], rows[-1].get("error", ""))
    result = {
        "command": "python benchmarks/read_samples.py",
        "counts": counts(rows),
        "libraries": {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()},
        "files": rows,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    page = PAGE.read_text()
    before, after = page[: page.index(BEGIN) + len(BEGIN)], page[page.index(END) :]
    PAGE.write_text(f"{before}\n{table(result)}\n{after}")
    print(result["counts"])


def samples(folder: Path) -> Iterator[Path]:
    """Every file, and every folder that holds nothing but DICOM slices."""
    for room in ("dicom_samples", "nifti_samples"):
        yield from sorted(path for path in (folder / room).rglob("*") if path.is_file())
    yield from sorted(path for path in (folder / "dicom_samples/brain_mr").iterdir() if path.is_dir())


def row(folder: Path, path: Path) -> dict[str, Any]:
    head = {"path": path.relative_to(folder).as_posix(), "kind": "folder" if path.is_dir() else "file"}
    try:
        studies = formats.read(path)
    except ConsiliumError as error:
        return {**head, "outcome": "refused", "error": type(error).__name__, "reason": str(error)}
    first = studies[0]
    return {
        **head,
        "outcome": "read",
        "format": first.file_format,
        "modality": first.modality,
        "body_part": first.body_part,
        "transfer_syntax": transfer_syntax(path, first),
        "studies": len(studies),
        "shapes": [shape(item) for item in first.images][:3],
        "images": len(first.images),
        "notes": first.notes,
    }


def shape(item: Image | Volume) -> str:
    array = item.voxels if isinstance(item, Volume) else item.pixels
    return f"{type(item).__name__} {' x '.join(map(str, array.shape))} {array.dtype}"


def transfer_syntax(path: Path, study: Study) -> str:
    import pydicom

    if study.file_format != "DICOM" or path.is_dir():
        return ""
    header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    return header.file_meta.TransferSyntaxUID.name if "TransferSyntaxUID" in header.file_meta else "not stated"


def counts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    files = [row for row in rows if row["kind"] == "file"]
    return {
        "files": len(files),
        "read": sum(row["outcome"] == "read" for row in files),
        "refused": dict(Counter(row["error"] for row in files if row["outcome"] == "refused")),
        "folders_read_as_one_volume": sum(row["kind"] == "folder" and row.get("images") == 1 for row in rows),
    }


def table(result: dict[str, Any]) -> str:
    """The misc and NIfTI files one by one; the slices of series by their folder."""
    numbers = result["counts"]
    refused = ", ".join(f"{n} {name}" for name, n in sorted(numbers["refused"].items()))
    lines = [
        f"Of {numbers['files']} files, {numbers['read']} are read and {sum(numbers['refused'].values())} refused with a "
        f"reason ({refused}); {numbers['folders_read_as_one_volume']} folders of slices each become one volume.",
        "",
        "| sample | outcome | modality, part | transfer syntax | first picture | notes or reason |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["files"]:
        if row["kind"] == "file" and "/brain_mr/" in row["path"]:
            continue
        name = row["path"].split("/", 1)[1].removeprefix("misc/")
        if row["outcome"] == "read":
            what = ", ".join(filter(None, (row["modality"], row["body_part"]))) or "not stated"
            more = f" (first of {row['images']})" if row["images"] > 1 else ""
            cells = (name, "read", what, row["transfer_syntax"], row["shapes"][0] + more, "; ".join(row["notes"]))
        else:
            cells = (name, "refused", "", "", "", f"{row['error']}: {row['reason']}")
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
