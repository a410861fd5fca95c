"""What lies before and after `segment_run`, on the machine that has the data: pack it, and make members of what was trained.

python -m consilium.train.segment_make pack --config configs/segment.toml --data DATA --packed PACKED
python -m consilium.train.segment_make install --config configs/segment.toml --data DATA --run RUN
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import consilium
from consilium import registry
from consilium.consult.panel import DEFAULT_ENCODER
from consilium.protocols import Encoder
from consilium.settings import settings
from consilium.train.segment_data import pack, write_packed
from consilium.train.segment_install import install, read_run

SHIPPED = Path(consilium.__file__).parent / "specialists" / "trained"


def tables(config: Path, only: Sequence[str] = ()) -> list[Mapping[str, Any]]:
    """The tasks of a config, or `only` those named."""
    found = tomllib.loads(config.read_text(encoding="utf-8"))["tasks"]
    return [table for table in found if not only or table["name"] in only]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("pack", "install"))
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--packed", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--only", nargs="*", default=())
    given = parser.parse_args()
    if (given.packed if given.what == "pack" else given.run) is None:
        parser.error("pack needs --packed, install needs --run")
    encoder: Encoder | None = None
    for table in tables(given.config, given.only):
        if given.what == "pack":
            write_packed(pack(table, given.data), given.packed / f"{table['name']}.npz")
            continue
        # Foreign pictures are told by features of pictures, not of volumes; and only what is shipped is worth the time.
        told = table["canvas"]["dims"] == 2 and table["open"]
        encoder = encoder or (registry.get("encoders", DEFAULT_ENCODER).load() if told else None)
        room = SHIPPED if table["open"] else settings().home / "specialists"
        card = install(read_run(given.run, table["name"]), table, given.data, encoder if told else None, room)
        sys.stdout.write(f"{card.name} {card.version} in {room}\n")


if __name__ == "__main__":
    main()
