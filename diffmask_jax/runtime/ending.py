"""How a command ends: what is told of it, in one line, and the status that a shell knows it by."""

import sys
from collections.abc import Callable

from diffmask_jax.errors import UserError, speaking_to_a_shell
from diffmask_jax.runtime import preemption, process
from diffmask_jax.runtime.messages import say
from diffmask_jax.runtime.preemption import Stopped, ending_at_once


def status_of(name: str, command: Callable[[], object], *, leaves: bool, goes_on: bool) -> int:
    """Run a command: 0 if it went well, 2 after a mistake told in one line.

    130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP: a training or fine-tuning is then saved.

    name: whose lines they are. leaves: end the process itself after a signal, as one that was
    started from a shell. goes_on: as of `Stopped`
    """
    with speaking_to_a_shell(), ending_at_once(goes_on):
        try:
            return _unless_stopped(name, command)
        except (Stopped, KeyboardInterrupt) as stop:
            others_wait = _tell(name, stop)
            if leaves and not others_wait:
                process.leave(preemption.status(stop))
            return preemption.status(stop)


def _unless_stopped(name: str, command: Callable[[], object]) -> int:
    try:
        command()
        sys.stdout.flush()
        return 0
    except UserError as error:
        say(f"{name}: {error}")
        return 2
    except BrokenPipeError:
        process.leave_stdout()  # its reader has left (`| head`)
        return 0
    except Exception as error:
        if (told := process.refusal(error)) is None:
            raise
        say(f"{name}: {told}")
        return 2


def _tell(name: str, stop: Stopped | KeyboardInterrupt) -> bool:
    """Say by what a command was stopped; True if it was together with other processes.

    Those have to part as JAX would have it.
    """
    line = f"{name}: {preemption.told(stop)}"
    if isinstance(stop, KeyboardInterrupt) or stop.step is None:
        say(line)  # and import nothing: it may have been in the midst of an import
        return False
    from diffmask_jax.runtime import distributed

    distributed.say(line)
    return distributed.are_several()
