"""The memory that this process has taken."""

import resource
import sys

import jax

MIB, GIB = 2**20, 2**30
_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in the system's unit


def most_taken() -> int:
    """The peak so far, in bytes: that of this host's fullest device, or of the process on CPUs."""
    told = [device.memory_stats() or {} for device in jax.local_devices()]
    of_devices = [stats["peak_bytes_in_use"] for stats in told if "peak_bytes_in_use" in stats]
    return max(of_devices, default=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT)
