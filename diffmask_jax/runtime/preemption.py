"""Requests to a running training to save or to stop, by signals or by the clock."""

import contextlib
import enum
import signal
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import messages, process, signals

SAVE_EVERY = 300.0  # seconds: the most that a run may lose between validations


class Notice(enum.IntEnum):
    """A request, the larger the more urgent: several processes follow the largest of theirs.

    A request to stop has the value of the exit status that shells use for its signal.
    """

    NONE = 0
    SAVE = 1
    HANGUP = 128 + signal.SIGHUP
    INTERRUPT = 128 + signal.SIGINT
    TERMINATE = 128 + signal.SIGTERM

    @property
    def stops(self) -> bool:
        """Whether it is a request to stop."""
        return self > Notice.SAVE


class Stopped(SystemExit):
    """Raised when a signal has ended the work; the exit status is the value of its notice.

    step: the step after which the run was saved; None if there was nothing to save
    goes_on: whether the same command would continue from there instead of starting again
    """

    def __init__(self, notice: Notice, step: int | None = None, goes_on: bool = True) -> None:
        where = "" if step is None else f" after step {step}"
        by = signals.SIGNALS[signal.Signals(notice - 128)]
        super().__init__(
            f"stopped by {by}{where}{': run the same command to continue' if goes_on else ''}"
        )
        self.notice, self.step = notice, step
        self.code = int(notice)


class Watch:
    """A context manager in which signals only set a notice, which `notice` returns.

    There are three exceptions, in which a single process ends at once: before the first `heed`,
    while the first call is compiled and nothing would be lost; within `nothing_to_lose`; and when
    Ctrl-C is pressed again.

    There is also a notice to save once `SAVE_EVERY` seconds have passed since the last `saved`: the
    clock may decide, since the times of saving do not affect a run's numbers.

    alone: no other process has to stop and save at the same step
    """

    def __init__(self, alone: bool) -> None:
        self._alone = self._at_once = alone
        self._stop, self._interrupted = Notice.NONE, False
        self._last = time.monotonic()
        self._handled = signals.handled(self._hear, _ending(self._reason_to_end))

    def __enter__(self) -> "Watch":
        self._handled.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._handled.__exit__(None, None, None)

    def _hear(self, number: signal.Signals) -> None:
        if reason := self._reason_to_end(number):
            raise reason

    def _reason_to_end(self, number: signal.Signals) -> Stopped | KeyboardInterrupt | None:
        """The reason for a signal to end the process at once; None if it only sets a notice."""
        notice = Notice(128 + number)
        if self._at_once:
            return Stopped(notice)
        if notice is Notice.INTERRUPT:
            if self._interrupted:
                return KeyboardInterrupt()
            self._interrupted = True
            with contextlib.suppress(RuntimeError):  # the signal interrupted the printing of a line
                messages.say(
                    "stopping and saving after this call; Ctrl-C again stops at once without saving"
                )
        self._stop = max(self._stop, notice)
        return None

    def notice(self) -> Notice:
        """The current request to this process."""
        if self._stop:
            return self._stop
        return Notice.SAVE if time.monotonic() - self._last > SAVE_EVERY else Notice.NONE

    def heed(self, agreed: int) -> Notice:
        """What to do: what all processes agreed on a call ago; if alone, the current request."""
        self._at_once = False
        return max(Notice(agreed), self.notice() if self._alone else Notice.NONE)

    @contextlib.contextmanager
    def nothing_to_lose(self) -> Iterator[None]:
        """A context for work that follows saving, in which a single process ends at once."""
        if self._alone and self._stop:
            raise Stopped(self._stop)
        before, self._at_once = self._at_once, self._alone
        try:
            yield
        finally:
            self._at_once = before

    def saved(self) -> None:
        """Restart the clock, since the run has just been saved."""
        self._last = time.monotonic()


@contextlib.contextmanager
def ending_at_once(goes_on: bool = True) -> Iterator[None]:
    """A context in which signals raise `Stopped` at once, since nothing would be lost.

    goes_on: as in `Stopped`
    """

    def reason(number: signal.Signals) -> Stopped:
        return Stopped(Notice(128 + number), goes_on=goes_on)

    def stop(number: signal.Signals) -> NoReturn:
        raise reason(number)

    with signals.handled(stop, _ending(reason)):
        yield


def told(stop: Stopped | KeyboardInterrupt) -> str:
    """The reason why a command ended, in words."""
    return str(stop) if isinstance(stop, Stopped) else "interrupted"


def status(stop: Stopped | KeyboardInterrupt) -> int:
    """The exit status of a command that was stopped."""
    return stop.notice if isinstance(stop, Stopped) else Notice.INTERRUPT


def _ending(
    reason: Callable[[signal.Signals], Stopped | KeyboardInterrupt | None],
) -> signals.Handler | None:
    """A function that ends the process from another thread, in which no exception could.

    None if no command runs, since the process is not ours then.
    """

    def end(number: signal.Signals) -> None:
        if stop := reason(number):
            messages.say(f"diffmask: {told(stop)}")
            process.leave(status(stop))

    return end if UserError.in_shell else None
