"""A run's scalars for TensorBoard, written by the thread that measures them, which can be told."""

import time
from pathlib import Path
from typing import Any

from diffmask_jax.runtime.extras import needs
from diffmask_jax.runtime.files import writing

with needs("training", extra="train"):
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.proto.summary_pb2 import Summary


class EventLog:
    """A file of scalars a start. Those after step `done`, of a start before it, are purged.

    Raises: UserError, as its methods do, if it cannot be written.
    """

    def __init__(self, folder: Path, done: int) -> None:
        self._place = folder / "events.out.tfevents"
        # TensorBoard reads the files in the order of their names, which begin with the second.
        with writing(self._place):
            self._events = EventsWriter(str(folder / "events"), f".after-{done:08d}")
        self._write(step=done + 1, session_log=SessionLog(status=SessionLog.START))

    def scalar(self, name: str, value: float, step: int) -> None:
        """A point of a curve."""
        point = Summary.Value(tag=name, simple_value=value)
        self._write(step=step, summary=Summary(value=[point]))

    def flush(self) -> None:
        """Let the file have all so far."""
        with writing(self._place):
            self._events.flush()

    def close(self) -> None:
        """Nothing is added any more."""
        with writing(self._place):
            self._events.close()

    def _write(self, **what: Any) -> None:
        with writing(self._place):
            self._events.write_event(Event(wall_time=time.time(), **what))
