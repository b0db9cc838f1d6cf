"""Being stopped from outside: what is asked of a training run while it goes on, by whom or what."""

import contextlib
import enum
import signal
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import messages, process, signals

SAVE_EVERY = 300.0  # seconds: what a run without a validation for so long may lose at most


class Notice(enum.IntEnum):
    """What is asked, the more urgent the larger: several processes heed the largest of theirs.

    One that asks to stop is the status to end with, as shells tell of a signal.
    """

    NONE = 0
    SAVE = 1
    HANGUP = 128 + signal.SIGHUP
    INTERRUPT = 128 + signal.SIGINT
    TERMINATE = 128 + signal.SIGTERM

    @property
    def stops(self) -> bool:
        """Whether it asks to stop."""
        return self > Notice.SAVE


class Stopped(SystemExit):
    """A signal has ended the work, and the process is to end with the status that is its notice.

    step: after which step the run was saved; None if it ended before there was anything to save.
    goes_on: whether the same command goes on from there, and does not begin again.
    """

    def __init__(self, notice: Notice, step: int | None = None, goes_on: bool = True) -> None:
        where = "" if step is None else f" after step {step}"
        by = signals.SIGNALS[signal.Signals(notice - 128)]
        super().__init__(f"stopped by {by}{where}{': the same command goes on' if goes_on else ''}")
        self.notice, self.step = notice, step
        self.code = int(notice)


class Watch:
    """A context manager in which signals do nothing but raise a notice, for `notice` to give.

    Two exceptions: until the first `heed`, while the first call is compiled, nothing would be lost,
    and a process that is alone ends at once; so it does when Ctrl-C is pressed again.

    Another notice is raised when `SAVE_EVERY` seconds have passed since the last `saved`. When a
    run saves changes none of its numbers, so that the clock may have its say.

    alone: no other process has to stop and save at the same step
    """

    def __init__(self, alone: bool) -> None:
        self._alone = self._fresh = alone
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
        """Why a signal ends the process at once; None if it was only noticed."""
        notice = Notice(128 + number)
        if self._fresh:
            return Stopped(notice)
        if notice is Notice.INTERRUPT:
            if self._interrupted:
                return KeyboardInterrupt()
            self._interrupted = True
            with contextlib.suppress(RuntimeError):  # in the midst of another line
                messages.say("stopping after this call, saved; Ctrl-C again ends at once, unsaved")
        self._stop = max(self._stop, notice)
        return None

    def notice(self) -> Notice:
        """What this process is asked to do now."""
        if self._stop:
            return self._stop
        return Notice.SAVE if time.monotonic() - self._last > SAVE_EVERY else Notice.NONE

    def heed(self, agreed: int) -> Notice:
        """What to do after all processes were asked as much, a call ago; alone, as asked now."""
        self._fresh = False
        return max(Notice(agreed), self.notice() if self._alone else Notice.NONE)

    def saved(self) -> None:
        """The run has just been saved: the clock starts anew."""
        self._last = time.monotonic()


@contextlib.contextmanager
def ending_at_once(goes_on: bool = True) -> Iterator[None]:
    """Where nothing would be lost, signals raise `Stopped` in the midst of whatever goes on.

    goes_on: as of `Stopped`
    """

    def reason(number: signal.Signals) -> Stopped:
        return Stopped(Notice(128 + number), goes_on=goes_on)

    def stop(number: signal.Signals) -> NoReturn:
        raise reason(number)

    with signals.handled(stop, _ending(reason)):
        yield


def told(stop: Stopped | KeyboardInterrupt) -> str:
    """Why a command ended, in words."""
    return str(stop) if isinstance(stop, Stopped) else "interrupted"


def status(stop: Stopped | KeyboardInterrupt) -> int:
    """What a command that was stopped ends with."""
    return stop.notice if isinstance(stop, Stopped) else Notice.INTERRUPT


def _ending(
    reason: Callable[[signal.Signals], Stopped | KeyboardInterrupt | None],
) -> signals.Handler | None:
    """What ends the process from another thread than that in which a reason could be raised.

    None where no command runs: it is not ours to end.
    """

    def end(number: signal.Signals) -> None:
        if stop := reason(number):
            messages.say(f"diffmask: {told(stop)}")
            process.leave(status(stop))

    return end if UserError.in_shell else None
