"""Two processes train as one does; one that is killed takes the other along, and both go on."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from checkpoint_arrays import arrays_of

from diffmask_jax import cli
from diffmask_jax.errors import UserError
from diffmask_jax.runtime import distributed
from diffmask_jax.runtime.distributed import Launch, launcher
from diffmask_jax.runtime.preemption import Notice

STEPS, EVERY, DEATH = 20, 10, 14
SETTINGS = (
    f"--gate hidden --steps {STEPS} --steps-per-call 2 --validate-every {EVERY} --batch-size 8 "
    "--probe-rate 2e-4 --warmup 3 --tolerance 1e4 --min-agreement 1e-9"
).split()

# --- who started us --------------------------------------------------------------------------

SLURM = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "3", "SLURM_NODELIST": "n[1-2]"}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "1"}
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
ADDRESS = {"JAX_COORDINATOR_ADDRESS": "h:1"}


@pytest.fixture(autouse=True)
def no_accelerator_and_every_package(monkeypatch):
    monkeypatch.setattr(distributed, "_on_cloud_tpu", lambda: False)
    monkeypatch.setattr(distributed, "_installed", lambda package: True)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        SLURM,  # a shell in an allocation
        SLURM | {"SLURM_STEP_NUM_TASKS": "1"},  # `srun --ntasks 1`, or an interactive step
        OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "1"},
        POD,
        {"TPU_WORKER_HOSTNAMES": "localhost"},
        {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"},
        {"OMPI_COMM_WORLD_SIZE": "", "SLURM_STEP_NUM_TASKS": "", "SLURM_PROCID": ""},
        SLURM | {"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": ""},
        {"KUBERNETES_SERVICE_HOST": "", "JOB_COMPLETION_INDEX": ""},
    ],
)
def test_nobody_started_several_processes(environment):
    assert launcher(environment) is None


@pytest.mark.parametrize(
    ("environment", "by"),
    [
        (SLURM | {"SLURM_STEP_NUM_TASKS": "8"}, "SLURM"),
        (OPEN_MPI | {"OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:34911"}, "Open MPI"),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, "Cloud TPU"),
        (POD | {"JOB_COMPLETION_INDEX": "0"}, "Kubernetes"),
        (ADDRESS | OPEN_MPI, "the coordinator's address"),
    ],
)
def test_a_launcher_is_known_by_its_variables(environment, by):
    assert launcher(environment).by == by


@pytest.mark.parametrize("name", ["OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
@pytest.mark.parametrize("value", ["x", "1.5", " ", "9" * 5000, "²"])
def test_a_number_of_processes_that_is_none(name, value):
    with pytest.raises(UserError, match=f"{name} is .*not a number"):
        launcher({name: value, "SLURM_PROCID": "0"})


@pytest.mark.parametrize("prefix", ["JAX_", ""])
def test_a_coordinator_s_address_comes_with_a_count_and_a_number(prefix):
    environment = {"COORDINATOR_ADDRESS": "h:1", "NUM_PROCESSES": "4", "PROCESS_ID": "2"}
    found = launcher({prefix + name: value for name, value in environment.items()})
    assert found == Launch(
        "the coordinator's address",
        {
            "coordinator_address": "h:1",
            "num_processes": 4,
            "process_id": 2,
            "cluster_detection_method": "deactivate",
        },
    )


@pytest.mark.parametrize(
    "environment",
    [ADDRESS, ADDRESS | {"JAX_NUM_PROCESSES": "2"}, OPEN_MPI,
     ADDRESS | {"JAX_NUM_PROCESSES": "two", "JAX_PROCESS_ID": "0"}],
)  # fmt: skip
def test_half_a_description_is_refused(environment):
    with pytest.raises(UserError, match=r"JAX_(COORDINATOR_ADDRESS|NUM_PROCESSES)") as refusal:
        launcher(environment)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("message", "others"),
    [
        ("UNKNOWN: Gloo all-reduce failed: Connection closed by peer [127.0.0.1]:1234", True),
        ("UNAVAILABLE: The following tasks are unhealthy (stopped sending heartbeats)", True),
        ("DEADLINE_EXCEEDED: Barrier timed out", True),
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 5000000000 bytes.", False),
        ("INTERNAL: cuBLAS error", False),
    ],
)
def test_an_error_of_ones_own_is_not_told_as_anothers_death(message, others):
    assert distributed._is_about_others(message) == others


def test_too_little_memory_is_told_in_one_line():
    full = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nMore")
    with (
        pytest.raises(UserError, match=r"allocating 9 bytes.\): try remat") as told,
        distributed.together(),
    ):
        raise full
    assert "More" not in str(told.value)


def test_alone_a_process_does_its_own_work(capsys):
    assert distributed.is_first()
    assert distributed.by_first(lambda: {"masked": 0.5}) == {"masked": 0.5}
    with pytest.raises(UserError, match="no"), distributed.together():
        raise UserError("no")
    distributed.say("yes")
    assert capsys.readouterr().err == "yes\n"


# --- two processes ---------------------------------------------------------------------------

DYING = f"""
import os, signal, sys, time
from pathlib import Path
from diffmask_jax import cli
from diffmask_jax.training.run_log import RunLog

training = RunLog.training

def die(self, step, *arguments):
    training(self, step, *arguments)
    if step >= {DEATH}:
        while not Path(sys.argv[1], "checkpoints", "{EVERY}").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)

if os.environ["JAX_PROCESS_ID"] == "1":
    RunLog.training = die
sys.exit(cli.main(sys.argv[2:]))
"""


def arguments_of(model: Path, texts: Path, out: Path) -> list[str]:
    places = ["--model", model, "--train", texts, "--dev", texts, "--out", out]
    return ["train", "texts", *map(str, places), *SETTINGS]


def start_two(environment: Callable[..., dict[str, str]], *command: str) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    return [
        subprocess.Popen(
            [sys.executable, *command],
            env=environment(
                JAX_COORDINATOR_ADDRESS=address, JAX_NUM_PROCESSES="2", JAX_PROCESS_ID=str(number)
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("two") / "run"


@pytest.fixture(scope="module")
def killed(out, tiny_bert, texts_file, child_environment):
    """Of two processes, the second killed: return codes, and what the first wrote."""
    both = start_two(
        child_environment, "-c", DYING, str(out), *arguments_of(tiny_bert, texts_file, out)
    )
    try:
        both[1].wait(timeout=600)
        written = both[0].communicate(timeout=600)
        return both[0].returncode, both[1].returncode, written
    finally:
        for process in both:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def restarted(killed, out, tiny_bert, texts_file, child_environment):
    """What both processes write when the same command is started again."""
    both = start_two(
        child_environment, "-m", "diffmask_jax.cli", *arguments_of(tiny_bert, texts_file, out)
    )
    try:
        written = [process.communicate(timeout=600) for process in both]
        assert [process.returncode for process in both] == [0, 0], written
        return written
    finally:
        for process in both:
            process.kill()
            process.wait()


TERMINATED = """
import os, signal, sys
from diffmask_jax import cli
from diffmask_jax.training.run_log import RunLog

training = RunLog.training

def terminate(self, step, *arguments):
    training(self, step, *arguments)
    if step == 8:
        os.kill(os.getpid(), signal.SIGTERM)

if os.environ["JAX_PROCESS_ID"] == "1":
    RunLog.training = terminate
sys.exit(cli.main(sys.argv[1:]))
"""


def finish(both: list[subprocess.Popen]) -> list[tuple[int, str, str]]:
    """Of each process: status, what it wrote, what it complained of."""
    try:
        written = [process.communicate(timeout=600) for process in both]
        return [(p.returncode, *texts) for p, texts in zip(both, written, strict=True)]
    finally:
        for process in both:
            process.kill()
            process.wait()


@pytest.mark.long
def test_sigterm_to_one_stops_both_at_one_step_and_the_same_command_goes_on(
    restarted, out, tiny_bert, texts_file, child_environment, tmp_path
):
    """The second is told at step 8, when 10 is running; 12 carries the news, and 14 the end."""
    arguments = arguments_of(tiny_bert, texts_file, tmp_path)
    ends = finish(start_two(child_environment, "-c", TERMINATED, *arguments))
    assert [status for status, _, _ in ends] == [Notice.TERMINATE] * 2, ends
    (_, _, said), (_, _, whispered) = ends
    assert "diffmask: stopped by SIGTERM after step 14: run the same command to continue" in said
    assert "SIGTERM" not in whispered
    assert "Traceback" not in said + whispered

    ends = finish(start_two(child_environment, "-m", "diffmask_jax.cli", *arguments))
    assert [status for status, _, _ in ends] == [0, 0], ends
    assert "continues after step 14" in ends[0][2]
    for name in ("probe.safetensors", "validation.jsonl"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()
    for array, expected in zip(arrays_of(tmp_path, STEPS), arrays_of(out, STEPS), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_one_that_is_killed_ends_the_other_with_an_error(killed):
    first, second, (_, errors) = killed
    assert second == -signal.SIGKILL
    assert first not in (0, None)
    assert "another process has ended" in errors or "another task died" in errors


def test_a_restart_goes_on_and_only_the_first_process_speaks(restarted, out):
    (printed, errors), (silent, whispered) = restarted
    assert f"continues after step {EVERY}" in errors and "2 processes, 2 devices" in errors
    assert f"step     {STEPS}" in printed and "kept the probe of step" in printed
    assert silent == "" or silent.startswith("[Gloo]")
    assert str(out) not in whispered
    lines = (out / "validation.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [EVERY, STEPS]
    assert len(list(out.glob("events.out.*"))) == 2  # one a start


def test_two_processes_train_the_same_probe_as_one(restarted, out, tiny_bert, texts_file, tmp_path):
    """Every parameter and moment after 20 steps, relative to its largest entry."""
    assert cli.main(arguments_of(tiny_bert, texts_file, tmp_path)) == 0
    two, one = arrays_of(out, STEPS), arrays_of(tmp_path, STEPS)
    assert len(two) == len(one) > 50
    for array, expected in zip(two, one, strict=True):
        np.testing.assert_allclose(array, expected, atol=1e-2 * np.abs(expected).max())


def test_on_another_number_of_devices_a_run_goes_on_and_says_so(
    restarted, out, tiny_bert, texts_file, capsys
):
    longer = [*arguments_of(tiny_bert, texts_file, out), "--steps", str(STEPS + 2)]
    assert cli.main(longer) == 0
    assert (
        "the run began on 2 cpu devices and continues on 1 cpu device: the last bits may differ"
        in capsys.readouterr().err
    )
