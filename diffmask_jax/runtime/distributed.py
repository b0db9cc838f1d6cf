"""Several processes that train one probe: how they find each other, and which of them speaks."""

import contextlib
import glob
import importlib.util
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from diffmask_jax.errors import UserError
from diffmask_jax.runtime import json_files, messages, preemption, process
from diffmask_jax.runtime.preemption import Stopped

SILENCE = 30  # seconds after which a silent process counts as dead
ANSWER = 8192  # bytes


class Launch(NamedTuple):
    """What started several processes, and the arguments of `jax.distributed.initialize`."""

    by: str
    arguments: dict[str, Any]


def launcher(environment: Mapping[str, str]) -> Launch | None:
    """What started this process together with others, by its environment variables; None if alone.

    To be inside an allocation, a pod or a container is not enough: a process would wait for others
    that were never started. Empty variables are ignored.

    Raises: UserError if the variables are incomplete.
    """

    environment = {name: value for name, value in environment.items() if value}

    def first(*names: str) -> str | None:
        return next((environment[name] for name in names if name in environment), None)

    address = first("JAX_COORDINATOR_ADDRESS", "COORDINATOR_ADDRESS")
    count = first("JAX_NUM_PROCESSES", "NUM_PROCESSES", "OMPI_COMM_WORLD_SIZE")
    number = first("JAX_PROCESS_ID", "PROCESS_ID", "OMPI_COMM_WORLD_RANK")
    # srun sets the size of a step; a shell inside an allocation has no step, or one of size 1.
    if _count(environment, "SLURM_STEP_NUM_TASKS") > 1 and "SLURM_PROCID" in environment:
        return Launch("SLURM", {"cluster_detection_method": "slurm"})
    if address:
        return Launch("the coordinator's address", _explicit(address, count, number))
    if _count(environment, "OMPI_COMM_WORLD_SIZE") > 1:
        if "OMPI_MCA_orte_hnp_uri" not in environment:  # since Open MPI 5
            raise UserError("this Open MPI names no coordinator: set JAX_COORDINATOR_ADDRESS too")
        return Launch("Open MPI", {"cluster_detection_method": "ompi"})
    if "," in environment.get("TPU_WORKER_HOSTNAMES", "") or _on_cloud_tpu():
        return Launch("Cloud TPU", {})
    if {"KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"} <= environment.keys() and _installed(
        "kubernetes"
    ):
        return Launch("Kubernetes", {})
    return None


def _count(environment: Mapping[str, str], name: str) -> int:
    """The number of processes, as a launcher states it."""
    value = environment.get(name, "1")
    if not (value.isdecimal() and len(value) < 10):
        raise UserError(
            f"{name} is {value!r}, which is not a number: set it, or pass --distributed off"
        )
    return int(value)


def _explicit(address: str, count: str | None, number: str | None) -> dict[str, Any]:
    if not (count and count.isdecimal() and number and number.isdecimal()):
        raise UserError(
            f"a coordinator is named ({address}), but JAX_NUM_PROCESSES is {count!r} and "
            f"JAX_PROCESS_ID {number!r}: set both to whole numbers, or pass --distributed off"
        )
    return {
        "coordinator_address": address,
        "num_processes": int(count),
        "process_id": int(number),
        "cluster_detection_method": "deactivate",
    }


def _on_cloud_tpu() -> bool:
    return bool(glob.glob("/dev/accel[0-9]*") and _installed("libtpu"))


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def start(launch: Launch | None) -> None:
    """Join the other processes, if there are any, before a device is used.

    Raises: UserError if they cannot be reached.
    """
    if launch is None:
        return
    # JAX would handle SIGTERM itself, which is the task of `signals.handled`.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(**launch.arguments, heartbeat_timeout_seconds=SILENCE)
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f"started by {launch.by}, but the other processes cannot be reached "
            f"({str(error).splitlines()[0]}): check the address, or pass --distributed off"
        ) from error
    say(f"{jax.process_count()} processes, {jax.device_count()} devices, started by {launch.by}")


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Around work that all processes do together: one that fails, or sees another fail, exits.

    A normal exit would first wait for the others, which wait for this one. A single process is not
    affected.

    Raises: UserError if a device's memory does not suffice.
    """
    try:
        with _told_of_memory():
            yield
    except BaseException as error:
        if jax.process_count() == 1 or (isinstance(error, Stopped) and error.step is not None):
            raise  # the latter together with all others
        if isinstance(error, jax.errors.JaxRuntimeError) and _is_about_others(str(error)):
            messages.say(
                f"diffmask: another process has ended ({str(error).splitlines()[0]}): start all "
                "of them again with the same command to continue"
            )
        elif isinstance(error, Stopped | KeyboardInterrupt):
            messages.say(f"diffmask: {preemption.told(error)}")
            process.leave(preemption.status(error))
        elif isinstance(error, UserError):
            messages.say(f"diffmask: {error}")
        else:
            traceback.print_exc()
        process.leave(2)


@contextlib.contextmanager
def _told_of_memory() -> Iterator[None]:
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(
            f"a device has run out of memory ({str(error).splitlines()[0]}): try --remat, "
            "--precision bfloat16, --accumulate or a smaller --batch-size"
        ) from error


def _is_about_others(message: str) -> bool:
    """Whether an error of XLA comes from communication with other processes."""
    signs = ("gloo", "nccl", "connect", "socket", "task", "unavailable", "deadline", "coordination")
    return any(sign in message.lower() for sign in signs)


def is_first() -> bool:
    """Whether this is the process that writes files, draws bars and prints."""
    return jax.process_index() == 0


def are_several() -> bool:
    """Whether there are other processes."""
    return jax.process_count() > 1


def say(line: str) -> None:
    """Print a line on standard error, in the first process only."""
    if is_first():
        messages.say(line)


def by_first(action: Callable[[], Any]) -> Any:
    """The result (JSON) of an action that only the first process carries out.

    Raises: UserError, in every process, if the action does.
    """
    if jax.process_count() == 1:
        return action()
    told = np.zeros(ANSWER, np.uint8)
    if is_first():
        written = np.frombuffer(json_files.dumps(_tried(action), plain=False).encode(), np.uint8)
        told[: len(written)] = written
    heard = multihost_utils.broadcast_one_to_all(told)
    answer = json_files.parse(heard.tobytes().rstrip(b"\0").decode(), "the first process's answer")
    if "error" in answer:
        raise UserError(answer["error"])
    return answer["result"]


def _tried(action: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"result": action()}
    except UserError as error:
        return {"error": messages.line_of(error)}
