"""A run's scalars for TensorBoard, written in the calling thread, which so learns of errors."""

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
    """One file of scalars per start. Scalars of earlier starts after step `done` are purged.

    Raises: UserError, as its methods do, if it cannot be written.
    """

    def __init__(self, folder: Path, done: int) -> None:
        self._place = folder / "events.out.tfevents"
        # TensorBoard reads files in the order of their names, which begin with a time in seconds.
        with writing(self._place):
            self._events = EventsWriter(str(folder / "events"), f".after-{done:08d}")
        self._write(step=done + 1, session_log=SessionLog(status=SessionLog.START))

    def scalar(self, name: str, value: float, step: int) -> None:
        """Add a point of a curve."""
        point = Summary.Value(tag=name, simple_value=value)
        self._write(step=step, summary=Summary(value=[point]))

    def flush(self) -> None:
        """Write everything so far to the file."""
        with writing(self._place):
            self._events.flush()

    def close(self) -> None:
        """Close the file."""
        with writing(self._place):
            self._events.close()

    def _write(self, **what: Any) -> None:
        with writing(self._place):
            self._events.write_event(Event(wall_time=time.time(), **what))
