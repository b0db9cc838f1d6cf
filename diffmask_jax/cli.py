"""The command line: `diffmask tour | finetune | train | explain | compare | evaluate | report`."""

import io
import sys
from collections.abc import Sequence

from diffmask_jax.errors import UserError, speaking_to_a_shell
from diffmask_jax.runtime import preemption, process
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.runtime.huge_pages import use_huge_pages
from diffmask_jax.runtime.messages import say
from diffmask_jax.runtime.preemption import Stopped, ending_at_once


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command: 0 if it went well, 2 after a mistake told in one line.

    130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP: a training or fine-tuning is then saved.
    """
    process.open_standard_streams()
    if arguments is None:  # from a shell, not from Python
        use_huge_pages()
    with speaking_to_a_shell(), ending_at_once(goes_on=False):
        try:
            return _status_of(arguments)
        except (Stopped, KeyboardInterrupt) as stop:
            others_wait = _tell(stop)
            if arguments is None and not others_wait:
                process.leave(preemption.status(stop))
            return preemption.status(stop)


def _status_of(arguments: Sequence[str] | None) -> int:
    """Run a command, and tell how it ended."""
    try:
        _run(arguments)
        sys.stdout.flush()
        return 0
    except UserError as error:
        say(f"diffmask: {error}")
        return 2
    except BrokenPipeError:
        process.leave_stdout()  # its reader has left (`| head`)
        return 0
    except Exception as error:
        if (told := process.refusal(error)) is None:
            raise
        say(f"diffmask: {told}")
        return 2


def _tell(stop: Stopped | KeyboardInterrupt) -> bool:
    """Say by what a command was stopped; True if it was together with other processes.

    Those have to part as JAX would have it.
    """
    line = f"diffmask: {preemption.told(stop)}"
    if isinstance(stop, KeyboardInterrupt) or stop.step is None:
        say(line)  # and import nothing: it may have been in the midst of an import
        return False
    from diffmask_jax.runtime import distributed

    distributed.say(line)
    return distributed.are_several()


def _run(arguments: Sequence[str] | None) -> None:
    # Not above: what is imported here need not be imported to start again with huge pages.
    from diffmask_jax.commands.parse import COMMANDS, parse

    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that is not UTF-8 shows a ? instead
        sys.stdout.reconfigure(errors="replace")
    options = parse(arguments)
    process.hush_libraries()
    process.draw_into_files()
    process.check_here()
    process.forget_empty_variables()
    process.check_addresses()
    process.check_bars()
    keep_compiled_programs()
    COMMANDS[options.command].run(options)


if __name__ == "__main__":
    sys.exit(main())
