"""How a command ends: its last line for people, and its exit status."""

import sys
from collections.abc import Callable

from diffmask_jax.errors import UserError, speaking_to_a_shell
from diffmask_jax.runtime import preemption, process
from diffmask_jax.runtime.messages import say
from diffmask_jax.runtime.preemption import Stopped, ending_at_once


def status_of(name: str, command: Callable[[], object], *, leaves: bool, goes_on: bool) -> int:
    """Run a command and return its status: 0, or 2 after a mistake, which is printed in one line.

    130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP: a training or fine-tuning is saved then.

    name: the command, as its lines begin
    leaves: after a signal, end the process at once, as a command started from a shell should
    goes_on: as in `Stopped`
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
        process.leave_stdout()  # its reader is gone (`| head`)
        return 0
    except Exception as error:
        if (told := process.refusal(error)) is None:
            raise
        say(f"{name}: {told}")
        return 2


def _tell(name: str, stop: Stopped | KeyboardInterrupt) -> bool:
    """Say what stopped a command; True if it ran together with other processes.

    Those must disconnect in JAX's way.
    """
    line = f"{name}: {preemption.told(stop)}"
    if isinstance(stop, KeyboardInterrupt) or stop.step is None:
        say(line)  # without importing anything: the signal may have interrupted an import
        return False
    from diffmask_jax.runtime import distributed

    distributed.say(line)
    return distributed.are_several()
