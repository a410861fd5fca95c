"""Where consilium keeps things and how it behaves, from the environment alone. Read when asked, never at import.

CONSILIUM_HOME      trained specialists, indices     (default ~/.local/share/consilium, or XDG_DATA_HOME)
CONSILIUM_CACHE     weights and features             (default ~/.cache/consilium, or XDG_CACHE_HOME)
CONSILIUM_WEIGHTS   a folder of weights looked at before all other sources (default none)
CONSILIUM_OFFLINE   1: fetch nothing                 (default 0)
CONSILIUM_FEATURES  0: keep no features of images on disk (default 1)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    home: Path
    cache: Path
    weights: Path | None
    offline: bool
    keep_features: bool


def settings() -> Settings:
    """The settings in force now."""
    env = os.environ
    user = Path.home()
    home = env.get("CONSILIUM_HOME") or Path(env.get("XDG_DATA_HOME") or user / ".local/share") / "consilium"
    cache = env.get("CONSILIUM_CACHE") or Path(env.get("XDG_CACHE_HOME") or user / ".cache") / "consilium"
    local = env.get("CONSILIUM_WEIGHTS")
    return Settings(
        home=Path(home).expanduser(),
        cache=Path(cache).expanduser(),
        weights=Path(local).expanduser() if local else None,
        offline=_flag(env.get("CONSILIUM_OFFLINE", "0")),
        keep_features=_flag(env.get("CONSILIUM_FEATURES", "1")),
    )


def _flag(text: str) -> bool:
    return text.strip().lower() in {"1", "true", "yes", "on"}
