"""Starts two processes of one command on one folder, in ever other orders, and kills some.

Run by test_two_at_once.py, in a process of its own, which forks as kill_at_random.py does:

    python two_at_once.py ORDERS SEED FOLDER COMMAND...

FOLDER gets the folder of every order, by its number, and the logs beside it; an object an order is
printed: the delay of the second, how one of them was killed, if so, and how both ended.
"""

import itertools
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from kill_at_random import PACE, PATIENCE, fork, polls, steps_saved, warm_up

from diffmask_jax.runtime import locks

KILLED = (None, "SIGKILL", None, "SIGTERM", "SIGKILL")


def main(orders: str, seed: str, folder: str, *command: str) -> None:
    warm_up(command)
    locks.WAIT = PATIENCE  # however slow the machine is
    rng = random.Random(seed)
    for number, killed in zip(range(int(orders)), itertools.cycle(KILLED), strict=False):
        run = Path(folder, str(number))
        delay, which = rng.choice((0, rng.uniform(0, 3))), rng.randrange(2)
        pids = []
        for name in ("first", "second"):
            log = Path(folder, f"{number}-{name}.log")
            pids.append(fork([*command, "--out", str(run)], log, hurry=False))
            time.sleep(delay if name == "first" else 0)
        if killed:
            for _ in polls(pids[which], 0.01):
                if steps_saved(run):
                    break
            time.sleep(rng.uniform(0, 4 * PACE))
            os.kill(pids[which], getattr(signal, killed))
        ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        found = {"delay": delay, "killed": killed, "which": which, "ends": ends, "pids": pids}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
