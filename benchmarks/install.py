"""`make demo` from a clean clone with nothing fetched yet: how long it takes, and how large the core install is.

python benchmarks/install.py

Clones the committed state into a temporary folder with an empty cache. Writes results/install.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "consilium"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        environment = os.environ | {"CONSILIUM_CACHE": f"{scratch}/cache", "CONSILIUM_HOME": f"{scratch}/home"}
        start = time.perf_counter()
        subprocess.run(["make", "demo"], cwd=clone, env=environment, check=True, stdout=subprocess.DEVNULL)
        demo_s = time.perf_counter() - start
        size = sum(p.stat().st_blocks * 512 for p in (clone / ".venv").rglob("*") if not p.is_symlink())
        written = all((clone / f"consultation.{kind}").is_file() for kind in ("html", "json"))
    report = {
        "command": "python benchmarks/install.py",
        "cores": os.cpu_count(),
        "make_demo_wall_s": demo_s,
        "core_install_gb": size / 1e9,
        "consultation_written": written,
        "n": 1,
    }
    (ROOT / "results/install.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
