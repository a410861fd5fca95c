"""Members that say the same thing once: under several policies the specialists and the generalist are asked the same of a
picture again and again. What they said of the last few is kept; the seconds of a record are then those of the first asking."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from consilium.consult.panel import Panel
from consilium.protocols import Generalist, Specialist
from consilium.types import Case, Completion, Image, Message, Opinion

T = TypeVar("T")
_KEPT = 8


class _Kept:
    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Any] = OrderedDict()

    def of(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self._known:
            self._known[key] = make()
        self._known.move_to_end(key)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        found: T = self._known[key]
        return found


class OnceSpecialist:
    """A specialist that examines a case once; with arguments it is asked anew."""

    def __init__(self, inner: Specialist) -> None:
        self.card = inner.card
        self._inner = inner
        self._kept = _Kept()

    def examine(self, case: Case, args: Mapping[str, Any] | None = None) -> Opinion:
        if args:
            return self._inner.examine(case, args)
        told = tuple((s.modality, s.body_part, len(s.images)) for s in case.studies)
        return self._kept.of((case.id, case.options, case.history, told), lambda: self._inner.examine(case))


class OnceGeneralist:
    """A generalist that rates the same options after the same messages once. All else is the inner one's."""

    def __init__(self, inner: Generalist) -> None:
        self.card = inner.card
        self.sees_images = inner.sees_images
        self._inner = inner
        self._kept = _Kept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def generate(self, messages: Sequence[Message], max_tokens: int = 128) -> Completion:
        return self._inner.generate(messages, max_tokens)

    def score(self, messages: Sequence[Message], options: Sequence[str]) -> tuple[float, ...]:
        said = tuple((m.role, *(p.digest if isinstance(p, Image) else p for p in m.parts)) for m in messages)
        return self._kept.of((said, tuple(options)), lambda: self._inner.score(messages, options))


class RememberedGeneralist(OnceGeneralist):
    """As above, and the ratings are kept in a file as well: a study that asks the same in another run does not ask again. Who
    rated (name, version) is part of what is looked up; of pictures the file holds digests alone."""

    def __init__(self, inner: Generalist, path: Path) -> None:
        super().__init__(inner)
        self._path = path
        self._rated: dict[str, list[float]] = {}
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):  # a line that a kill cut short is asked again
                    self._rated |= json.loads(line)

    def score(self, messages: Sequence[Message], options: Sequence[str]) -> tuple[float, ...]:
        said = [[m.role, *(p.digest if isinstance(p, Image) else p for p in m.parts)] for m in messages]
        asked = json.dumps([self.card.name, self.card.version, said, list(options)])
        key = hashlib.sha256(asked.encode()).hexdigest()
        if key not in self._rated:
            self._rated[key] = list(super().score(messages, options))
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({key: self._rated[key]}) + "\n")
        return tuple(self._rated[key])


def once(panel: Panel) -> None:
    """Puts every specialist of the panel, and its generalist where it is loaded, behind one that remembers, if it is not yet."""
    for name in panel.specialists:
        if not isinstance(panel.specialist(name), OnceSpecialist):
            panel.seat(name, OnceSpecialist(panel.specialist(name)))
    if panel.has_generalist and not isinstance(panel.generalist, OnceGeneralist):
        panel.seat_generalist(OnceGeneralist(panel.generalist))
