"""The command line: `diffmask finetune | train | explain | compare | evaluate | report | tour`."""

import io
import os
import sys
from collections.abc import Sequence

from diffmask_jax.errors import UserError, speaking_to_a_shell
from diffmask_jax.runtime import process
from diffmask_jax.runtime.compile_cache import keep_compiled_programs
from diffmask_jax.runtime.huge_pages import use_huge_pages
from diffmask_jax.runtime.messages import say
from diffmask_jax.runtime.preemption import Notice, Stopped


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command: 0 if it went well, 2 after a mistake told in one line.

    130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP: a training or fine-tuning is then saved.
    """
    process.open_standard_streams()
    if arguments is None:  # from a shell, not from Python
        use_huge_pages()
    with speaking_to_a_shell():
        return _status_of(arguments)


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
    except Stopped as stop:
        from diffmask_jax.runtime import distributed

        distributed.say(f"diffmask: {stop}")
        return stop.notice
    except KeyboardInterrupt:
        say("diffmask: interrupted")
        return Notice.INTERRUPT
    except Exception as error:
        if (told := process.refusal(error)) is None:
            raise
        say(f"diffmask: {told}")
        return 2


def _run(arguments: Sequence[str] | None) -> None:
    # Not above: what is imported here need not be imported to start again with huge pages.
    from diffmask_jax.commands.parse import COMMANDS, parse

    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that is not UTF-8 shows a ? instead
        sys.stdout.reconfigure(errors="replace")
    options = parse(arguments)
    # transformers advises to install PyTorch, which nothing here needs, and quotes files as is.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    process.check_here()
    process.forget_empty_variables()
    process.check_addresses()
    keep_compiled_programs()
    COMMANDS[options.command].run(options)


if __name__ == "__main__":
    sys.exit(main())
