"""All of CUDA, measured by one command: `python -m benchmarks.gpu`. Importing it loads neither torch nor nerfstudio."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# The speed benchmark's modules, which this one builds on, are no package.
if str(ROOT / "scripts") not in sys.path:
    sys.path.insert(0, str(ROOT / "scripts"))
