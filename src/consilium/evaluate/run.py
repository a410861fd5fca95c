"""Runs an evaluation: every picture under every policy, on one council, resumable, in one process or several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from consilium.consult import policies
from consilium.errors import UsageError
from consilium.evaluate import records
from consilium.evaluate.council import WITHOUT_GENERALIST, Council
from consilium.evaluate.plan import Ask, Task
from consilium.evaluate.records import Header, Key

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Sitting:
    """One consultation under one policy, and the questions that it answers: one, or those of all labels of a picture."""

    task: Task
    council: Council
    policy: str
    asks: tuple[Ask, ...]


@dataclass(frozen=True)
class Study:
    """A kind of evaluation. `answer`: a function of a module (so that a process can be told of it) that takes the panel, the
    case and the sitting and returns, for each of its questions, the part of a record that is new. `generalist`: whether it asks
    one under any policy."""

    name: str
    answer: Callable[..., list[dict[str, Any]]]
    generalist: bool = False


@dataclass(frozen=True)
class Evaluation:
    """Which task is put to which council under which policies; the records lie in `folder`, a file a policy.

    skip_unreadable  a picture that cannot be read becomes a record that says so; else it ends the run.
    seed             a name for this run where several runs of one policy are to be averaged ("" for none).
    """

    task: Task
    council: Council
    policies: tuple[str, ...]
    folder: Path
    study: Study
    skip_unreadable: bool = False
    seed: str = ""

    def path(self, policy: str) -> Path:
        return self.folder / f"{policy}.jsonl"

    def header(self, policy: str, panel: Any) -> Header:
        """What the records of `policy` hang on; loads the generalist where it is asked."""
        task, data = self.task, self.task.data
        asks = self.study.generalist or policy not in WITHOUT_GENERALIST
        made_with = {
            "study": self.study.name,
            "dataset": data.name,
            "fingerprint": task.fingerprint(),
            "split": task.split,
            "seed": self.seed,
            **task.facts(),
            **self.council.facts(panel, policy, asks),
        }
        about = {
            "exclusive": data.exclusive,
            "normal": task.normal_option,
            "split_source": data.split_source,
            "patients_known": bool(data.patient_column),
            "unlabelled": task.unlabelled,
        }
        return Header(made_with, about)


@dataclass(frozen=True)
class Todo:
    """A picture (its row) and, by policy, which of its questions are still to be asked."""

    row: int
    asked: Mapping[str, frozenset[str]]


@dataclass
class Outcome:
    """Per policy: how many questions have an answer, how many were answered now; how many pictures were skipped."""

    answered: dict[str, int] = field(default_factory=dict)
    new: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    unlabelled: int = 0


class Crew(Protocol):
    """Who does the work: this process, or several."""

    def headers(self) -> dict[str, Header]: ...

    def work(self, todo: Sequence[Todo], headers: Mapping[str, Header], done: Callable[[int], None]) -> None: ...


def run(evaluation: Evaluation, jobs: int = 1, progress: Progress | None = None) -> Outcome:
    """Asks what is not yet on record and says what there is. Whatever ends it, every finished answer is kept.

    Raises UnknownMemberError for a policy that there is not, DataError where a picture cannot be read, UsageError where
    another run writes to the same folder, and what `consult` raises.
    """
    for policy in evaluation.policies:
        policies.get(policy)
    if not evaluation.policies or jobs < 1:
        raise UsageError("name at least one policy, and give 1 job or more.")
    with _alone(evaluation.folder):
        headers: dict[str, Header] = {}
        before: dict[str, int] = {}
        try:
            with _crew(evaluation, jobs) as crew:
                headers = crew.headers()
                kept = {name: records.take_up(evaluation.path(name), header) for name, header in headers.items()}
                answers = {name: {records.key_of(r) for r in rows if "skipped" not in r} for name, rows in kept.items()}
                before = {name: len(keys) for name, keys in answers.items()}
                todo, total = _missing(evaluation, answers)
                crew.work(todo, headers, _counter(total, len(todo), progress))
        finally:
            # Also after an error, by when the crew has stopped: what it answered goes where it is looked for.
            now = {name: records.take_up(evaluation.path(name), header) for name, header in headers.items()}
    return _outcome(evaluation, before, now)


def _missing(evaluation: Evaluation, answers: Mapping[str, set[Key]]) -> tuple[list[Todo], int]:
    items = evaluation.task.items()
    todo = []
    for item in items:
        asked = {
            policy: frozenset(ask.asked for ask in item.asks if (item.row, ask.asked) not in keys)
            for policy, keys in answers.items()
        }
        if any(asked.values()):
            todo.append(Todo(item.row, asked))
    return todo, len(items)


def _outcome(evaluation: Evaluation, before: Mapping[str, int], now: Mapping[str, Sequence[records.Row]]) -> Outcome:
    outcome = Outcome(unlabelled=evaluation.task.unlabelled)
    for policy, rows in now.items():
        outcome.answered[policy] = sum("skipped" not in row for row in rows)
        outcome.new[policy] = outcome.answered[policy] - before[policy]
        outcome.skipped = max(outcome.skipped, len({row["row"] for row in rows if "skipped" in row}))
    return outcome


def _counter(total: int, left: int, progress: Progress | None) -> Callable[[int], None]:
    state = {"done": total - left}

    def done(count: int) -> None:
        state["done"] += count
        if progress:
            progress(state["done"], total)

    done(0)
    return done


def _crew(evaluation: Evaluation, jobs: int) -> AbstractContextManager[Crew]:
    from consilium.evaluate.jobs import Alone, several

    return Alone(evaluation) if jobs == 1 else several(evaluation, jobs)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two runs in one folder would each answer all; the second is refused."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise UsageError(f"another run writes to {folder}. Wait for it, or give another --out.") from None
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}. Choose another place.") from error
    try:
        yield
    finally:
        lock.release()
