"""Programs are counted, and those that a warm run should not have needed told apart."""

import jax
import jax.numpy as jnp

from diffmask_jax.runtime.compilations import Compilations


def test_a_second_shape_of_the_same_work_is_late():
    double = jax.jit(lambda x: 2 * x + 0.125)
    short, long = jnp.zeros(3), jnp.zeros(4)
    with Compilations() as programs:
        assert not programs.is_warm("short")
        for x, kind in ((short, "short"), (short, "short"), (long, "long"), (long, "long")):
            with programs.of(kind):
                double(x)
        assert programs.is_warm("short")
        assert (programs.warming, programs.late) == (2, 0)
        with programs.of("short"):
            double(long.astype(jnp.bfloat16))
        assert programs.warming == 2 and programs.late >= 1


def test_nothing_is_heard_outside():
    programs = Compilations()
    with programs:
        pass
    with programs.of("work"):
        jax.jit(lambda x: x - 0.375)(1.0)
    assert (programs.warming, programs.late) == (0, 0)
