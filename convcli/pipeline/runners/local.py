"""Shards one after another in this process, whose pool shares out the inputs of each and survives a child's death."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from convcli.pipeline.runners.base import Lost

T = TypeVar("T")
R = TypeVar("R")


class LocalRunner:
    """Runs tasks here, one at a time.

    Examples
    --------
    >>> list(LocalRunner().run(abs, [-1, 2], room=1))
    [(-1, 1), (2, 2)]
    """

    n_workers = 1

    def run(self, work: Callable[[T], R], tasks: Iterable[T], *, room: int) -> Iterator[tuple[T, R | Lost]]:
        """Yield every task with its result."""
        assert room >= 1
        for task in tasks:
            yield task, work(task)
