"""The contract of engines that run tasks somewhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Lost(NamedTuple):
    """A task of which no result will come; it may have been done, or have failed because of another."""

    reason: str


class Runner(Protocol):
    """An engine.

    Tasks and results are small and can be pickled; ``work`` can be imported by its name where it runs.
    """

    #: Tasks that run at a time, as far as it is known.
    n_workers: int

    def run(self, work: Callable[[T], R], tasks: Iterable[T], *, room: int) -> Iterator[tuple[T, R | Lost]]:
        """Yield every task with its result in order of completion; at most ``room`` are taken and not yielded.

        A machine that is lost is a value. A ConvcliError of ``work`` is raised, and ends the others.
        """
