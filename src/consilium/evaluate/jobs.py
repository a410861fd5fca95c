"""The work itself: pictures read and encoded in batches, put to the council, and written down; here or in other processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

from consilium import formats
from consilium.consult.council import case_of
from consilium.consult.panel import Panel
from consilium.consult.route import identify
from consilium.errors import ConsiliumError, DataError, MemberError, ReadError
from consilium.evaluate.exclude import Excluding
from consilium.evaluate.once import once
from consilium.evaluate.plan import Item
from consilium.evaluate.records import Header, Part
from consilium.evaluate.reduced import case_id, group_id
from consilium.evaluate.run import Crew, Evaluation, Sitting, Todo
from consilium.imaging.picture import views
from consilium.retrievers import patient_key
from consilium.types import Study

CHUNK = 16


class Clerk:
    """Seats a council and writes down its answers."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.panel: Panel = evaluation.council.panel()
        if self.panel.retriever is not None:
            self.panel.retriever = Excluding(self.panel.retriever)
        self._items = {item.row: item for item in evaluation.task.items()}
        self._parts: dict[str, Part] = {}

    def headers(self) -> dict[str, Header]:
        return {policy: self.evaluation.header(policy, self.panel) for policy in self.evaluation.policies}

    def work(self, todo: Sequence[Todo], headers: Mapping[str, Header], done: Callable[[int], None]) -> None:
        """Answers the pictures in order, CHUNK of them encoded in one batch; `done` is told of each."""
        if len(headers) > 1:
            once(self.panel)
        try:
            for policy, header in headers.items():
                self._parts[policy] = Part(self.evaluation.path(policy), header)
            for first in range(0, len(todo), CHUNK):
                self._chunk(todo[first : first + CHUNK], done)
        finally:
            for part in self._parts.values():
                part.close()
            self._parts = {}

    def _chunk(self, todo: Sequence[Todo], done: Callable[[int], None]) -> None:
        loaded: list[tuple[Todo, tuple[Study, ...] | ReadError]] = []
        for one in todo:
            loaded.append((one, self._read(self._items[one.row])))
            if isinstance(loaded[-1][1], ReadError) and not self.evaluation.skip_unreadable:
                break  # what stands before it is answered first, then it is said
        images = [
            v for _, s in loaded if isinstance(s, tuple) for study in s for item in study.images for v in views(item)
        ]
        start = time.perf_counter()
        if images:
            self.panel.encoder.embed(images, patches=True)
        share = (time.perf_counter() - start) / max(1, sum(isinstance(s, tuple) for _, s in loaded))
        for one, studies in loaded:
            item = self._items[one.row]
            if isinstance(studies, ReadError):
                self._skip(one, item, studies)
            else:
                self._answer(one, item, studies, share)
            done(1)

    def _read(self, item: Item) -> tuple[Study, ...] | ReadError:
        task = self.evaluation.task
        try:
            return formats.read(item.record.path, modality=task.modality, body_part=task.body_part)
        except ReadError as error:
            return error

    def _answer(self, todo: Todo, item: Item, studies: tuple[Study, ...], share: float) -> None:
        """All questions and policies of one picture together, so that what was computed of it is used again."""
        evaluation, panel, task = self.evaluation, self.panel, self.evaluation.task
        patients = task.data.patient_column
        patient = patient_key(task.data.name, item.record.patient) if patients else ""
        common = self._common(item) | {"case": case_id(studies)}
        for asks in task.rounds(item):
            case = case_of(studies, asks[0].question, task.offered, multiple=task.together)
            case = identify(case, panel.router)
            for policy in evaluation.policies:
                left = tuple(ask for ask in asks if ask.asked in todo.asked[policy])
                if not left:
                    continue
                if isinstance(panel.retriever, Excluding):
                    panel.retriever.begin(patient)
                with _named(item):
                    found = evaluation.study.answer(panel, case, Sitting(task, evaluation.council, policy, left))
                for ask, own in zip(left, found, strict=True):
                    _share_out(own, share, len(left))
                    self._parts[policy].add({**common, "asked": ask.asked, "truth": ask.truth, **own})

    def _skip(self, todo: Todo, item: Item, error: ReadError) -> None:
        path = item.record.path
        if not self.evaluation.skip_unreadable:
            raise DataError(
                f"{path} cannot be read: {error} Mend the file, take its row out, or pass --skip-unreadable."
            ) from error
        reason = f"{type(error).__name__}: {error}".replace(str(path), "the file").replace(path.name, "the file")
        for policy, asked in todo.asked.items():
            for name in sorted(asked):
                self._parts[policy].add({**self._common(item), "case": "", "asked": name, "skipped": reason})

    def _common(self, item: Item) -> dict[str, Any]:
        data = self.evaluation.task.data
        group = group_id(data.name, item.record.patient)
        return {"row": item.row, "case": "", "group": group, "dataset": data.name, "split": item.record.split}


def _share_out(record: dict[str, Any], encoding: float, questions: int) -> None:
    """Adds the seconds of encoding the picture; of a consultation that answered several questions each bears its part."""
    spent = record.get("seconds")
    if spent is None:
        return
    for name in ("encoder", "total"):
        spent[name] = spent.get(name, 0.0) + encoding
    record["seconds"] = {name: round(value / questions, 4) for name, value in spent.items()}


@contextmanager
def _named(item: Item) -> Iterator[None]:
    """Says which picture an error of the council is about; the records do not name it."""
    try:
        yield
    except ConsiliumError as error:
        raise type(error)(f"{item.record.path}: {error}") from error


class Alone(nullcontext[Crew]):
    """The crew that is this process."""

    def __init__(self, evaluation: Evaluation) -> None:
        super().__init__(Clerk(evaluation))


@contextmanager
def several(evaluation: Evaluation, jobs: int) -> Iterator[Crew]:
    """A crew of `jobs` processes, each with a council of its own and its share of the cores."""
    with _threads(max(1, _cores() // jobs)):
        pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_employ, initargs=(evaluation,))
        try:
            yield _Several(pool, jobs)
        except BrokenProcessPool as error:
            raise MemberError(
                "a process ended before its work was done, most likely for want of memory. What was answered is kept: run the "
                "same command again, with fewer --jobs."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Several:
    def __init__(self, pool: ProcessPoolExecutor, jobs: int) -> None:
        self._pool = pool
        self._jobs = jobs

    def headers(self) -> dict[str, Header]:
        return self._pool.submit(_headers).result()

    def work(self, todo: Sequence[Todo], headers: Mapping[str, Header], done: Callable[[int], None]) -> None:
        size = max(1, min(CHUNK, len(todo) // (4 * self._jobs)))
        chunks = [todo[first : first + size] for first in range(0, len(todo), size)]
        futures = {self._pool.submit(_work, chunk, dict(headers)): len(chunk) for chunk in chunks}
        for future in as_completed(futures):
            future.result()
            done(futures[future])


# What a process of `several` was employed for, and its clerk; a process has one evaluation in its life.
_employed: dict[str, Any] = {}


def _employ(evaluation: Evaluation) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    _employed["evaluation"] = evaluation


def _end_with_parent() -> None:
    """Ends this process once the one that employed it is gone, killed for instance: nobody would gather its answers, and a new
    run may already give the same pictures to others."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def _clerk() -> Clerk:
    if "clerk" not in _employed:
        _employed["clerk"] = Clerk(_employed["evaluation"])
    clerk: Clerk = _employed["clerk"]
    return clerk


def _headers() -> dict[str, Header]:
    return _clerk().headers()


def _work(todo: Sequence[Todo], headers: Mapping[str, Header]) -> None:
    _clerk().work(todo, headers, lambda count: None)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Processes that are started within take so many threads each, or fewer where the user says so."""
    before = os.environ.get("OMP_NUM_THREADS", "")
    os.environ["OMP_NUM_THREADS"] = str(min(count, int(before)) if before.isdecimal() else count)
    try:
        yield
    finally:
        if before:
            os.environ["OMP_NUM_THREADS"] = before
        else:
            del os.environ["OMP_NUM_THREADS"]
