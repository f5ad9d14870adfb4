"""The numeric parts that CPU kernels share, against NumPy."""

import re
from pathlib import Path
from typing import no_type_check

import numpy as np
import pytest
from numba import njit, prange

from semantic_ns.kernels.compilation import kernel
from semantic_ns.kernels.exponential_numba import exp32
from semantic_ns.kernels.matrix_numba import add_outer, linear, padded


@njit
def exponentials(x: np.ndarray) -> np.ndarray:
    y = np.empty_like(x)
    for i in range(x.shape[0]):
        y[i] = exp32(x[i])
    return y


def matrix(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("rows", [0, 4, 36])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 8), (20, 64), (7, 24), (64, 16), (3, 40), (5, 0)])
def test_linear_is_the_matrix_product_plus_bias(rows: int, inputs: int, outputs: int) -> None:
    a, w, b = matrix(rows, inputs), matrix(inputs, outputs), matrix(outputs)
    out = np.full((rows, outputs), np.nan, np.float32)
    linear(a, w, b, out, rows)
    np.testing.assert_allclose(out, a @ w + b, rtol=1e-4, atol=1e-5)


def test_linear_does_not_read_columns_beyond_the_matrix_nor_write_other_rows() -> None:
    a, w, b = np.full((8, 12), np.nan, np.float32), matrix(10, 16), matrix(16)
    a[:4, :10] = matrix(4, 10)
    out = np.full((8, 16), 7.0, np.float32)
    linear(a, w, b, out, 4)
    np.testing.assert_allclose(out[:4], a[:4, :10] @ w + b, rtol=1e-4, atol=1e-5)
    assert (out[4:] == 7).all()


@pytest.mark.parametrize("rows", [0, 1, 5, 64])
@pytest.mark.parametrize(("inputs", "outputs"), [(4, 8), (20, 64), (64, 24), (16, 0)])
def test_add_outer_adds_the_sum_of_outer_products(rows: int, inputs: int, outputs: int) -> None:
    a, g = matrix(rows, inputs), matrix(rows, outputs)
    out = matrix(inputs, outputs)
    expected = out + a.T @ g
    add_outer(a, g, out, rows)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_padded_is_the_next_multiple() -> None:
    assert [padded(count, 4) for count in (0, 1, 4, 5)] == [0, 4, 4, 8]


def test_the_exponential_is_right_to_five_units_in_the_last_place() -> None:
    x = np.linspace(-86.9, 87.9, 200_001).astype(np.float32)
    exact = np.exp(x.astype(np.float64))
    assert np.abs(exponentials(x) / exact - 1).max() < 5 * np.finfo(np.float32).eps


def test_the_exponential_stays_finite_at_any_argument() -> None:
    low, high, zero = exponentials(np.array([-1e30, 1e30, 0.0], np.float32)).tolist()
    assert 0 <= low < 1e-37
    assert 1e38 < high < float("inf")
    assert zero == 1


def test_the_compiler_may_neither_reorder_nor_fuse_what_a_kernel_adds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Compiled here and now: only then is there a listing.
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))

    @kernel
    @no_type_check
    def products(a, w, b, out):
        for k in prange(out.shape[0]):
            linear(a, w, b, out[k], a.shape[0])
            for i in range(a.shape[0]):
                out[k, i, 0] += exp32(a[i, 0]) * b[0]

    a = matrix(8, 8)
    products(a, a, matrix(8), np.empty((2, 8, 8), np.float32))
    (listing,) = products.inspect_llvm().values()
    operations = re.findall(r"= (f(?:add|sub|mul|div|neg).*) (?:float|double|<\d+ x float>) ", listing)
    assert "fadd" in operations
    assert set(operations) <= {"fadd", "fsub", "fmul", "fdiv", "fneg"}, "an operation with flags of fast arithmetic"
    assert "llvm.fma.v8f32" in listing, "a product of matrices is fused because it says so"
