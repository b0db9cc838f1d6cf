"""A trace holds a few calls that were compiled already, by name."""

import jax
import jax.numpy as jnp

from diffmask_jax.runtime.profiling import CALLS, Trace


@jax.jit
def quadrupled(x):
    return 4 * x


def test_a_trace_of_warm_calls(tmp_path):
    with Trace(tmp_path) as trace:
        for number in range(CALLS + 3):
            assert not list(tmp_path.rglob("*.xplane.pb"))
            y = trace.call(quadrupled, jnp.float32(number), step=number, warm=number > 0)
            assert y == 4 * number
            if number == CALLS:
                break
    (file,) = (tmp_path / "plugins" / "profile").rglob("*.xplane.pb")
    content = file.read_bytes()
    assert b"quadrupled" in content and b"train" in content


def test_a_run_that_ends_amid_its_trace_leaves_what_there_is(tmp_path):
    with Trace(tmp_path) as trace:
        assert trace.told() == "the run ended before a call could be traced"
        trace.call(quadrupled, jnp.float32(1), step=1, warm=True)
    assert trace.told().startswith(f"traced 1 calls into {tmp_path}/plugins/profile: ")
    assert len(list(tmp_path.rglob("*.xplane.pb"))) == 1


def test_without_a_folder_nothing_is_traced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Trace(None) as trace:
        assert trace.call(quadrupled, jnp.float32(1), step=1, warm=True) == 4
    assert not list(tmp_path.iterdir())
