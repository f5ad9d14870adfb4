#!/usr/bin/env python3
"""How much slower does this package make the commands of other methods?

Times `ns-train nerfacto --help` in fresh processes with the package visible to nerfstudio and hidden from it, in turn
and in both orders, and prints the medians. The bar is 1.10.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.fresh_process import HIDE_PLUGIN

HELP = """
import sys
sys.argv = ["ns-train", "nerfacto", "--help"]
from nerfstudio.scripts.train import entrypoint
entrypoint()
"""


def seconds(code: str) -> float:
    """Run code in a fresh process and return how long it took."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5, help="pairs of runs for each order")
    repetitions = parser.parse_args().repetitions
    codes = {"with the package": HELP, "without": HIDE_PLUGIN + HELP}
    times: dict[str, list[float]] = {name: [] for name in codes}
    for code in codes.values():
        seconds(code)  # fills the disk cache
    for order in (list(codes), list(reversed(codes))):
        for repetition in range(repetitions):
            print(f"order {' / '.join(order)}: {repetition + 1} of {repetitions}", flush=True)
            for name in order:
                times[name].append(seconds(codes[name]))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        print(f"{name:>18}: median {medians[name]:.2f} s ({min(values):.2f} to {max(values):.2f}, {len(values)} runs)")
    print(f"{'ratio':>18}: {medians['with the package'] / medians['without']:.3f}")


if __name__ == "__main__":
    main()
