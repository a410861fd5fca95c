"""Where under a folder a dataset lies, and what is missing of it."""

from __future__ import annotations

from pathlib import Path

from consilium.datasets.benchmark.description import Description, Layout
from consilium.errors import DataError

# Archives often unpack into a folder of their own name, sometimes twice.
_DEEPEST = 3


def located(description: Description, folder: Path) -> tuple[Path, Layout]:
    """The folder in which the first complete layout lies: `folder`, or the only folder in it; DataError says what lacks."""
    for place in _places(folder):
        for layout in description.layouts:
            if not _lacks(place, layout):
                return place, layout
    lacks = lacking(description, folder)
    found = "is not a folder" if not folder.is_dir() else f"lacks {', '.join(lacks)}"
    raise DataError(
        f"{folder} {found}, so {description.title} cannot be read. Download: {description.download} The folder must then "
        f"look like this (`consilium datasets {description.name}` says more):\n{description.tree.rstrip()}"
    )


def lacking(description: Description, folder: Path) -> tuple[str, ...]:
    """What must be there and is not, of the layout that lacks least; () where one is complete."""
    tried = [_lacks(place, layout) for place in _places(folder) for layout in description.layouts]
    return min(tried, key=len)


def _places(folder: Path) -> list[Path]:
    places = [folder]
    while len(places) <= _DEEPEST and places[-1].is_dir():
        below = [path for path in places[-1].iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX"))]
        if len(below) != 1:
            break
        places += below
    return places


def _lacks(place: Path, layout: Layout) -> tuple[str, ...]:
    return tuple(item for item in layout.requires if not any(_there(place, one) for one in item.split("|")))


def _there(place: Path, item: str) -> bool:
    return any(place.glob(item)) if "*" in item else (place / item).exists()
