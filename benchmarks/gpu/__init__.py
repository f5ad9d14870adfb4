"""All of CUDA, measured by one command: `python -m benchmarks.gpu`. Importing it loads neither torch nor nerfstudio."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
