"""Studies of the paper's claims and of this package's speed, a package or a module each."""

import signal
import sys

from diffmask_jax.runtime.process import hush_libraries, open_standard_streams

hush_libraries()  # before one of them imports JAX
if sys.argv[0] == "-m":  # one of them is being started from a shell
    open_standard_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until its command runs, which handles it
