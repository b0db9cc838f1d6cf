"""A tensor comes out of a file in float32 and finite, or is named with what is wrong."""

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from diffmask_jax.errors import UserError
from diffmask_jax.runtime.tensors import check_finite, checked, read

SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, max_side=3)
FLOATS = arrays.arrays(st.sampled_from([np.float16, np.float32, np.float64]), SHAPES)


@given(FLOATS)
def test_a_tensor_is_float32_and_finite_or_refused(tensor):
    with np.errstate(over="ignore", invalid="ignore"):
        single = tensor.astype(np.float32)
    if np.isfinite(single).all():
        found = checked({"a": tensor}, "a", tensor.shape)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, single)
        return
    with pytest.raises(UserError, match="tensor a is not finite: ") as refusal:
        checked({"a": tensor}, "a")
    place = tuple(map(int, filter(None, str(refusal.value).split("[")[1][:-1].split(", "))))
    assert not np.isfinite(single[place])


def test_bfloat16_and_what_overflows():
    assert checked({"a": np.ones(2, ml_dtypes.bfloat16)}, "a").dtype == np.float32
    with pytest.raises(UserError, match=r"tensor a is not finite: 1e\+300 at \[1\]"):
        checked({"a": np.array([1.0, 1e300])}, "a")


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.bool_, np.complex64])
def test_what_is_not_of_floats(dtype):
    with pytest.raises(UserError, match=f"tensor a has type {np.dtype(dtype)}"):
        checked({"a": np.zeros(2, dtype)}, "a")


def test_what_is_missing_or_of_another_shape():
    with pytest.raises(UserError, match="lack the tensor b"):
        checked({}, "b")
    with pytest.raises(UserError, match=r"tensor a has shape \(2,\), .* asks for \(3,\)"):
        checked({"a": np.zeros(2)}, "a", (3,))


def test_a_file(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors.numpy.save({"x": np.arange(3.0)}, metadata={"k": "v"}))
    found, metadata = read(path)
    assert found["x"].tolist() == [0, 1, 2] and metadata == {"k": "v"}
    path.write_bytes(safetensors.numpy.save({"x": np.array([np.nan])}))
    with pytest.raises(UserError, match="is damaged: tensor x is not finite: nan at "):
        read(path)
    path.write_bytes(b"{")
    with pytest.raises(UserError, match="is damaged"):
        read(path)


def test_results():
    check_finite({"a": np.ones(2), "b": [1.0]}, "x")
    with pytest.raises(UserError, match=r"^x$"):
        check_finite({"a": np.ones(2), "b": [np.nan]}, "x")
