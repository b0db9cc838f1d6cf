"""Counting a run's compilations, and those that still happen after it has warmed up."""

import contextlib
from collections.abc import Hashable, Iterator
from typing import Any

import jax

COMPILED = "/jax/core/compile/backend_compile_duration"  # also for programs read from the cache


class Compilations:
    """A context manager that counts the programs compiled for each kind of work.

    The first work of a kind (a call with batches of some length, a validation) may compile; the
    kind is warm afterwards. Later compilations are waste: some shape or constant changes.

    warming, late: programs compiled by the first work of every kind, and by all other work
    """

    def __init__(self) -> None:
        self.warming = self.late = 0
        self._heard = 0
        self._warm: set[Hashable] = set()

    def __enter__(self) -> "Compilations":
        jax.monitoring.register_event_duration_secs_listener(self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self._hear)

    def _hear(self, event: str, *_: Any, **__: Any) -> None:
        self._heard += event == COMPILED

    def is_warm(self, kind: Hashable) -> bool:
        """Whether work of this kind has been done."""
        return kind in self._warm

    @contextlib.contextmanager
    def of(self, kind: Hashable) -> Iterator[None]:
        """Count the compilations of the work inside."""
        before = self._heard
        yield
        if kind in self._warm:
            self.late += self._heard - before
        else:
            self.warming += self._heard - before
            self._warm.add(kind)
