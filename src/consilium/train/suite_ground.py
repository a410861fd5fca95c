"""What all members of a suite stand on: the pictures by each way of seeing them, the folds, and the limits for foreign ones.

Folds of two kinds. `folds`: at random, by patient. `shifted`: clusters of feature space. K-means cuts each class into five
clusters, sorted by how far their centre lies from that of the class, and fold i is the i-th cluster of every class; so
what a member says of it is said of pictures unlike those it learnt from, the more so the higher the fold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from consilium import formats
from consilium.datasets.folder import Record
from consilium.imaging import texture
from consilium.imaging.picture import views
from consilium.nn import fit_head
from consilium.nn.feature_store import FeatureStore, Stored
from consilium.nn.light_head import distance
from consilium.protocols import Card, Encoder, Features
from consilium.settings import settings
from consilium.train.features import encode
from consilium.train.folds import FOLDS, folds
from consilium.train.specialist import Ready, bounds
from consilium.types import Array, Image

Tell = Callable[[str, float], None]
"""(what is being done, the fraction of it that is done)."""


@dataclass(frozen=True, eq=False)
class Table:
    """One way of seeing: features (n, d) of train and val, of test."""

    both: Array
    test: Array


class TextureEncoder:
    """The texture features in an encoder's place, so that they are read and kept as features are."""

    card = Card("encoder", "texture", texture.VERSION, "classical radiomics")

    def __init__(self) -> None:
        now = settings()
        key = f"texture-{texture.VERSION}"
        self._store = FeatureStore(now.cache / "features" / key if now.keep_features else None)

    def embed(self, images: Sequence[Image], patches: bool = False) -> Features:
        return Features(np.stack([self._one(image) for image in images]))

    def _one(self, image: Image) -> Array:
        kept = self._store.get(image.digest)
        if kept is None:
            kept = Stored(texture.vector(image))
            self._store.put(image.digest, kept)
        return kept.pooled


class Ground:
    """A folder that is ready to be learnt from, its features, folds and foreign tensors; dear things when first asked."""

    def __init__(self, ready: Ready, encoder: Encoder, second: Encoder | None, tell: Tell) -> None:
        self.ready = ready
        self.encoder = encoder
        self.second = second
        self.tell = tell
        self.records = [ready.data.records[i] for i in ready.both.rows]
        self.digests = tuple(ready.encoded.digests[i] for i in ready.both.rows)

    @property
    def exclusive(self) -> bool:
        return self.ready.data.exclusive

    @property
    def targets(self) -> Array:
        """(n, c) of train and val."""
        return self.ready.both.targets

    @property
    def in_val(self) -> Array:
        """(n,) which of train and val are val."""
        return np.array([record.split == "val" for record in self.records])

    def folds(self, seed: int) -> Array:
        """(n,) folds of the seed's drawing; seed 0 is that of every light specialist."""
        return folds(self.records, bool(self.ready.data.patient_column), seed)

    @cached_property
    def shifted(self) -> Array:
        return clusters(self.ready.both.features, self._kinds(), self._whom())

    def _whom(self) -> tuple[str, ...]:
        return self.ready.both.patients if self.ready.data.patient_column else ()

    def _kinds(self) -> Array:
        """(n,) the class of each picture; of several labels its rarest one, -1 without any."""
        said = np.nan_to_num(self.targets)
        rare = np.where(said == 1, said.sum(axis=0), np.inf)
        return np.where(said.any(axis=1), rare.argmin(axis=1), -1)

    @cached_property
    def gate(self) -> dict[str, Array]:
        """The foreign tensors on the shared encoder's features, the same for every member, with their own centre and scale."""
        own = fit_head.spread(self.ready.both.features)
        found = bounds(own, self.ready, self.encoder, self.held_distances)
        return {f"foreign.{name}": value for name, value in own.items()} | found

    @cached_property
    def held_distances(self) -> Array:
        return self._distances(self.folds(0))

    @cached_property
    def shifted_distances(self) -> Array:
        return self._distances(self.shifted)

    def _distances(self, cut: Array) -> Array:
        """(n,) distance of each picture from those of the other folds."""
        features, found = self.ready.both.features, np.zeros(len(cut), np.float32)
        for fold in np.unique(cut):
            own = fit_head.spread(features[cut != fold])
            found[cut == fold] = distance(own | fit_head.foreign(own, features[cut != fold]), features[cut == fold])
        return found

    @cached_property
    def shared_table(self) -> Table:
        return Table(self.ready.both.features, self.ready.test.features)

    @cached_property
    def second_table(self) -> Table:
        return self._table(self.second, "the second encoder")

    @cached_property
    def texture_table(self) -> Table:
        return self._table(TextureEncoder(), "texture")

    def _table(self, encoder: Encoder | TextureEncoder | None, what: str) -> Table:
        records, both = self._all(), len(self.records)
        features = encode(records, encoder, lambda done, n: self.tell(what, done / n)).features  # type: ignore[arg-type]
        return Table(features[:both], features[both:])

    def _all(self) -> list[Record]:
        return [*self.records, *(self.ready.data.records[i] for i in self.ready.test.rows)]

    @cached_property
    def pictures(self) -> tuple[Array, Array]:
        """uint8 squares (m, 224, 224, 3) of every view of train, val and test, and (m,) whose each is: the row among train
        and val, then test."""
        from consilium.nn import convnet

        seen, owner, records = [], [], self._all()
        for row, record in enumerate(records):
            study = formats.read(record.path)[0]
            own = [view for item in study.images for view in views(item)]
            seen.append(convnet.squares(own))
            owner += [row] * len(own)
            if row % 32 == 0:
                self.tell("pictures", row / len(records))
        return np.concatenate(seen), np.array(owner)


def clusters(features: Array, kinds: Array, patients: Sequence[str] = ()) -> Array:
    """(n,) fold of each picture, 0 (most central) to FOLDS - 1, by k-means within each kind (n,). A patient's pictures go
    where most of them lie. A kind with fewer pictures has fewer clusters."""
    from sklearn.cluster import KMeans

    own = fit_head.spread(features)
    x = (features - own["centre"]) / own["scale"]
    _, _, basis = np.linalg.svd(x, full_matrices=False)
    x = x @ basis[: min(32, len(basis))].T
    found = np.zeros(len(x), int)
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        count = min(FOLDS, len(np.unique(x[rows], axis=0)))
        made = KMeans(count, n_init=4, random_state=fit_head.SEED).fit(x[rows])
        far = np.linalg.norm(made.cluster_centers_ - x[rows].mean(axis=0), axis=1)
        found[rows] = far.argsort().argsort()[made.labels_]
    if patients:
        names = np.asarray(patients)
        for name in np.unique(names):
            found[names == name] = np.bincount(found[names == name]).argmax()
    return found
