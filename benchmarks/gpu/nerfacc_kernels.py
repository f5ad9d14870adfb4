"""Stage `nerfacc`: compiles nerfacc's kernels, which semantic-ngp needs on CUDA; part of no other stage."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from time import perf_counter

from benchmarks.gpu.rows import Rows
from benchmarks.gpu.settings import NotPossibleError, Settings

_HEADER = """#pragma once
#ifdef __CUDACC__
#include <cub/version.cuh>
#if CUB_VERSION >= 300000
namespace cub { struct Equality {
  template <typename A, typename B>
  __host__ __device__ __forceinline__ constexpr bool operator()(const A& a, const B& b) const { return a == b; }
}; }
#endif
#endif
"""
"""What nerfacc 0.5.2 takes from CUB and CUB 3 (CUDA 13) no longer has; see its issue 306."""


def measure(settings: Settings, rows: Rows) -> None:
    """One row with the seconds of the build."""
    name = "nerfacc's kernels"
    if settings.device == "cpu":
        rows.add(name, needed=False)  # semantic-ngp has its own there
        return
    import torch

    if shutil.which("nvcc") is None:
        raise NotPossibleError("nerfacc's kernels need nvcc to be compiled, and there is none; install CUDA's toolkit.")
    major, minor = torch.cuda.get_device_capability()
    environment = build_environment(settings, f"{major}.{minor}")
    start = perf_counter()
    code = "import nerfacc.cuda._backend as b, sys; print('kernels:', b._C); sys.exit(0 if b._C is not None else 9)"
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    print(process.stdout[-20_000:], process.stderr[-20_000:])
    if process.returncode != 0:
        lines = (process.stdout + process.stderr).splitlines()
        errors = [line.strip() for line in lines if "error" in line.lower()] or lines[-1:] or ["no message"]
        raise NotPossibleError(f"nerfacc's kernels could not be compiled: {errors[0][:250]}")
    rows.add(name, compile_seconds=perf_counter() - start, jobs=settings.nerfacc_jobs)


def build_environment(settings: Settings, capability: str) -> dict[str, str]:
    """Variables for the build; those that are set already stay."""
    header = settings.output.resolve() / "cub_equality.h"
    header.write_text(_HEADER, encoding="utf8")
    made = {
        "MAX_JOBS": str(settings.nerfacc_jobs),
        "TORCH_CUDA_ARCH_LIST": capability,
        "NVCC_PREPEND_FLAGS": f"-include {header}",
    }
    root = toolkit_root()
    if root is not None:
        made["CUDA_HOME"] = str(root)
        if not (root / "include" / "cublas_v2.h").exists():
            made["CPATH"] = os.pathsep.join(map(str, _headers_of_packages()))
    return made | dict(os.environ)


def toolkit_root() -> Path | None:
    """Where nvcc says that its toolkit is; `nvcc` itself may be a script elsewhere."""
    process = subprocess.run(["nvcc", "--dryrun", "-x", "cu", os.devnull], capture_output=True, text=True, check=False)
    for line in process.stderr.splitlines():
        if line.startswith("#$ TOP="):
            top = Path(line.removeprefix("#$ TOP=").strip().strip('"'))
            return top.resolve() if top.is_dir() else None
    return None


def _headers_of_packages() -> list[Path]:
    """Folders of headers that CUDA's Python packages bring."""
    packages = Path(sysconfig.get_paths()["purelib"]) / "nvidia"
    return sorted(path for path in packages.glob("**/include") if path.is_dir())


def use_kernels(settings: Settings, rows: Rows) -> None:
    """Stage `ngp`: semantic-ngp's speed, where the kernels were compiled."""
    if settings.device == "cuda":
        import torch

        major, minor = torch.cuda.get_device_capability()
        os.environ.update(build_environment(settings, f"{major}.{minor}"))
        if not (settings.rows_of("nerfacc").exists() and "compile_seconds" in settings.rows_of("nerfacc").read_text()):
            raise NotPossibleError("semantic-ngp needs nerfacc's kernels on CUDA, which stage nerfacc did not compile.")
        from benchmarks.gpu.marked_tests import run

        run("tests of nerfacc's kernels", "tests/methods/test_occupancy_sampling.py", settings, rows)
    from benchmarks.gpu.speed import measure_ngp

    measure_ngp(settings, rows)
