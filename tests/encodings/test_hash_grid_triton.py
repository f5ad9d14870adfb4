"""The Triton hash grid against nerfstudio's torch loop, its slow twin.

What needs kernels that run is marked `cuda`, and runs on CUDA where there is a device. Everywhere, one test repeats all
of it on the CPU under Triton's interpreter: in a process of its own, since Triton reads the switch when it is loaded.
"""

import importlib
import importlib.metadata
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.field_components.encodings import HashEncoding
from torch import Tensor, nn

from semantic_ns.encodings import hash_grid
from semantic_ns.encodings.hash_grid import Backend, HashGrid
from semantic_ns.errors import SceneError
from support.fresh_process import loaded_after, run_python

pytest.importorskip("triton", reason="triton is not installed")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
NO_DEVICE = not INTERPRETED and not torch.cuda.is_available()

SMALL = {"num_levels": 3, "min_res": 4, "max_res": 40, "log2_hashmap_size": 8, "features_per_level": 2}
CHANNELS = 6


def on_device(test: Any) -> Any:
    """Marks a test that launches kernels."""
    skip = pytest.mark.skipif(NO_DEVICE, reason="no CUDA device; see the test under Triton's interpreter")
    return pytest.mark.cuda(skip(test))


def slow_grid(**changes: int) -> HashEncoding:
    """nerfstudio's grid with features of size 1."""
    torch.manual_seed(0)
    return HashEncoding(implementation="torch", hash_init_scale=1.0, **(SMALL | changes)).to(DEVICE)  # pyright: ignore[reportArgumentType]


def grids(**changes: int) -> tuple[HashGrid, HashEncoding]:
    """The same grid by Triton and by nerfstudio."""
    slow = slow_grid(**changes)
    return HashGrid.from_encoding(slow, "triton").to(DEVICE), slow


def positions(count: int, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def gradients(grid: HashEncoding, x: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The encoding, and the gradients of positions and table."""
    x = x.detach().requires_grad_()
    y = grid(x)
    x_gradient, table_gradient = torch.autograd.grad(y, [x, grid.hash_table], cotangent.expand_as(y))
    return y, x_gradient, table_gradient


def assert_equal_values_and_gradients(
    fast: HashEncoding, slow: HashEncoding, x: Tensor, cotangent: Tensor | None = None
) -> None:
    if cotangent is None:
        cotangent = torch.randn(slow(x).shape, generator=torch.Generator().manual_seed(2)).to(DEVICE)
    ours, theirs = gradients(fast, x, cotangent), gradients(slow, x, cotangent)
    for mine, twin, tolerance in zip(ours, theirs, (1e-5, 1e-3, 1e-4), strict=True):
        torch.testing.assert_close(mine, twin, rtol=tolerance, atol=tolerance)


@on_device
@pytest.mark.parametrize("count", [1, 2, 31, 128, 129, 301])
def test_values_and_gradients_equal_nerfstudios_for_any_number_of_points(count: int) -> None:
    assert_equal_values_and_gradients(*grids(), positions(count))


@on_device
@pytest.mark.parametrize(
    "changes",
    [
        {"features_per_level": 1},
        {"features_per_level": 4},
        {"features_per_level": 8},
        {"num_levels": 1, "max_res": 4},
        {"log2_hashmap_size": 0},
        {"log2_hashmap_size": 4},
        {"max_res": 2048, "log2_hashmap_size": 16, "num_levels": 7},
    ],
)
def test_values_and_gradients_equal_nerfstudios_for_any_layout(changes: dict[str, int]) -> None:
    assert_equal_values_and_gradients(*grids(**changes), positions(57))


@on_device
@pytest.mark.parametrize("features", [1, 2, 4])
def test_values_and_gradients_agree_on_the_border_and_on_grid_lines(features: int) -> None:
    fast, slow = grids(features_per_level=features)
    lines = torch.tensor([0.0, 1.0, *(1 / fast.scalings), *(0.5 * k / float(fast.scalings[0]) for k in range(1, 8))])
    x = torch.cartesian_prod(lines, lines[:3], lines[:6]).to(DEVICE)
    assert_equal_values_and_gradients(fast, slow, x)


@on_device
def test_an_empty_batch_gives_an_empty_encoding_and_zero_gradients() -> None:
    fast, _ = grids()
    y, x_gradient, table_gradient = gradients(fast, positions(0), torch.ones((), device=DEVICE))
    assert y.shape == (0, CHANNELS)
    assert x_gradient.shape == (0, 3)
    assert table_gradient.shape == fast.hash_table.shape
    assert table_gradient.abs().max() == 0


@on_device
def test_non_contiguous_positions_and_gradients_are_read_right() -> None:
    fast, slow = grids()
    wide = positions(64).repeat(1, 2)
    x = wide[::2, ::2]
    assert not x.is_contiguous()
    columns_first = torch.randn(CHANNELS, 32, generator=torch.Generator().manual_seed(3)).to(DEVICE).t()
    assert_equal_values_and_gradients(fast, slow, x, columns_first)
    assert_equal_values_and_gradients(fast, slow, x, torch.ones((), device=DEVICE))  # all strides 0
    assert_equal_values_and_gradients(fast, slow, x.reshape(4, 8, 3))


@on_device
def test_points_without_gradient_add_nothing_and_the_others_all_they_have() -> None:
    fast, slow = grids()
    x, cotangent = positions(300), torch.zeros(300, CHANNELS, device=DEVICE)
    cotangent[200:203] = 1.0  # the first block of points stays without
    cotangent[290, 3] = -2.0  # one feature of one level
    assert_equal_values_and_gradients(fast, slow, x, cotangent)
    assert gradients(fast, x[:9], torch.zeros((), device=DEVICE))[2].abs().max() == 0


@on_device
def test_a_gradient_that_is_not_a_number_reaches_the_table() -> None:
    fast, _ = grids()
    table_gradient = gradients(fast, positions(5), torch.full((), torch.nan, device=DEVICE))[2]
    assert table_gradient.isnan().any()


@on_device
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_table_in_half_precision_gives_sums_in_single_precision(dtype: torch.dtype) -> None:
    fast, slow = grids()
    fast.hash_table = nn.Parameter(fast.hash_table.detach().to(dtype))
    slow.hash_table = nn.Parameter(fast.hash_table.detach().float())
    x, cotangent = positions(100), torch.ones((), device=DEVICE)
    y, x_gradient, table_gradient = gradients(fast, x, cotangent)
    twins = gradients(slow, x, cotangent)
    assert (y.dtype, x_gradient.dtype, table_gradient.dtype) == (torch.float32, torch.float32, dtype)
    torch.testing.assert_close(y, twins[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(x_gradient, twins[1], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(table_gradient, twins[2].to(dtype), rtol=1e-2, atol=1e-3)


@on_device
def test_under_autocast_table_and_encoding_stay_in_single_precision_and_the_next_layer_casts() -> None:
    fast, slow = grids()
    x, layer = positions(40), nn.Linear(CHANNELS, 3).to(DEVICE)
    results = []
    for grid in (fast, slow):
        with torch.autocast(DEVICE.type, dtype=torch.bfloat16):
            encoded = grid(x)
            output = layer(encoded)
        assert encoded.dtype == torch.float32
        assert output.dtype == torch.bfloat16
        results.append((output, torch.autograd.grad(output.float().sum(), grid.hash_table)[0]))
    assert results[0][1].dtype == torch.float32
    for mine, twin in zip(*results, strict=True):
        torch.testing.assert_close(mine, twin, rtol=2e-2, atol=2e-2)


@on_device
def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    fast, _ = grids()
    x = positions(5).requires_grad_()
    (gradient,) = torch.autograd.grad(fast(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@on_device
def test_a_checkpoint_of_the_numba_grid_gives_the_same_outputs_in_triton(tmp_path: Path) -> None:
    saved = HashGrid(backend="numba", hash_init_scale=1.0, **SMALL)
    torch.save(saved.state_dict(), tmp_path / "checkpoint.pt")
    loaded = HashGrid(backend="triton", **SMALL).to(DEVICE)
    x = positions(50)
    assert not torch.allclose(loaded(x).cpu(), saved(x.cpu()), atol=1e-3)
    loaded.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    torch.testing.assert_close(loaded(x).cpu(), saved(x.cpu()), rtol=1e-4, atol=1e-5)


@on_device
def test_on_cuda_auto_is_triton() -> None:
    grid = HashGrid.from_encoding(slow_grid(), "auto")
    assert grid.backend_on(torch.device("cuda")) == "triton"


@pytest.mark.skipif(INTERPRETED, reason="this is the interpreter's process")
def test_the_tests_for_a_device_pass_under_tritons_interpreter() -> None:
    code = f"import pytest; raise SystemExit(pytest.main(['-q', '-p', 'no:cacheprovider', '-m', 'cuda', {__file__!r}]))"
    process = run_python(code, TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")
    assert process.returncode == 0, process.stdout[-4000:] + process.stderr[-2000:]
    count = process.stdout.splitlines()[-1]
    assert "passed" in count
    assert "skipped" not in count, process.stdout


@pytest.mark.parametrize(
    ("backend", "device", "features", "missing", "expected"),
    [
        ("auto", "cpu", 2, (), "numba"),
        ("auto", "cpu", 2, ("numba",), "torch"),
        ("auto", "cuda", 2, (), "triton"),
        ("auto", "cuda:1", 8, ("numba",), "triton"),
        ("auto", "cuda", 2, ("triton",), "torch"),
        ("auto", "cuda", 3, (), "torch"),
        ("auto", "meta", 2, (), "torch"),
        ("auto", "cuda", 2, ("C compiler",), "torch"),
        ("triton", "cuda", 4, (), "triton"),
        ("torch", "cuda", 2, (), "torch"),
    ],
)
def test_the_back_end_follows_device_and_what_is_installed(
    monkeypatch: pytest.MonkeyPatch,
    backend: Backend,
    device: str,
    features: int,
    missing: tuple[str, ...],
    expected: str,
) -> None:
    monkeypatch.setattr(hash_grid, "is_installed", lambda package: package not in missing)
    monkeypatch.setattr(hash_grid, "has_c_compiler", lambda: "C compiler" not in missing)
    grid = HashGrid(backend=backend, **(SMALL | {"features_per_level": features}))
    assert grid.backend_on(torch.device(device)) == expected


@pytest.mark.parametrize(
    ("device", "features", "missing", "message"),
    [
        ("cpu", 2, (), "CUDA tensors, found one on cpu; use auto or torch"),
        ("meta", 2, (), "CUDA tensors, found one on meta"),
        ("cuda", 3, (), "1, 2, 4 or 8 features per level, found 3"),
        ("cuda", 2, ("triton",), "needs the package triton"),
        ("cuda", 2, ("C compiler",), "needs a C compiler"),
    ],
)
def test_triton_refuses_what_it_cannot_encode(
    monkeypatch: pytest.MonkeyPatch, device: str, features: int, missing: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr(hash_grid, "is_installed", lambda package: package not in missing)
    monkeypatch.setattr(hash_grid, "has_c_compiler", lambda: "C compiler" not in missing)
    grid = HashGrid(backend="triton", **(SMALL | {"features_per_level": features}))
    with pytest.raises(SceneError, match=message):
        grid.backend_on(torch.device(device))


def test_the_class_loads_no_compiler_before_it_encodes() -> None:
    code = "from semantic_ns.encodings.hash_grid import HashGrid; import torch; g = HashGrid(num_levels=2)"
    loaded = loaded_after(f"{code}; g.backend_on(torch.device('cuda')); g.backend_on(torch.device('cpu'))")
    assert not {"triton", "numba"} & loaded


POINTERS = {"x", "table", "scalings", "y", "y_gradient", "table_gradient", "x_gradient"}


def compiled_for_hopper(name: str, features: int, table_type: str = "fp32") -> str:
    """PTX of a kernel for compute capability 9.0, for rows side by side as the layers after the grid send them."""
    import triton
    from triton.compiler import ASTSource

    from semantic_ns.encodings import hash_grid_triton

    try:
        target = importlib.import_module("triton.backends.compiler").GPUTarget("cuda", 90, 32)
    except (ImportError, AttributeError, TypeError) as error:
        pytest.skip(f"triton {importlib.metadata.version('triton')} names no target without a device: {error}")
    constants = {"TABLE_SIZE": 2**19, "FEATURES": features, "BLOCK": 128, "column_stride": 1}
    kernel = getattr(hash_grid_triton, name)
    types: dict[str, str] = {}
    for argument in kernel.arg_names:
        types[argument] = "constexpr" if argument in constants else "*fp32" if argument in POINTERS else "i32"
    if "table" in types:
        types["table"] = f"*{table_type}"
    aligned = {
        (number,): [["tt.divisibility", 16]]
        for number, argument in enumerate(kernel.arg_names)
        if argument in POINTERS or argument == "row_stride"
    }
    try:
        source = ASTSource(fn=kernel, signature=types, constexprs=constants, attrs=aligned)
    except TypeError as error:
        pytest.skip(f"triton {importlib.metadata.version('triton')} describes a source in another way: {error}")
    return triton.compile(source, target=target).asm["ptx"]


@pytest.mark.skipif(INTERPRETED, reason="Triton's interpreter compiles nothing")
@pytest.mark.parametrize(("features", "vector"), [(1, ""), (2, ".v2"), (4, ".v4")])
def test_a_row_of_the_table_is_one_load_and_one_atomic_addition(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, features: int, vector: str
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))  # so that something is compiled
    encode = compiled_for_hopper("encode_kernel", features)
    scatter = compiled_for_hopper("scatter_kernel", features)
    move = compiled_for_hopper("position_kernel", features)
    for ptx in (encode, scatter, move):
        assert ".target sm_90" in ptx
    corners = 8
    if features > 1:  # else the loads of the positions look the same
        assert encode.count(f"ld.global{vector}.b32") == corners
    assert sum("atom" in line and f".add{vector}.f32" in line for line in scatter.splitlines()) == corners
    assert "relaxed" in scatter


@pytest.mark.skipif(INTERPRETED, reason="Triton's interpreter compiles nothing")
@pytest.mark.parametrize("table_type", ["fp16", "bf16"])
def test_tables_in_half_precision_compile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, table_type: str) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    for name in ("encode_kernel", "position_kernel"):
        assert ".entry " + name in compiled_for_hopper(name, 2, table_type)
