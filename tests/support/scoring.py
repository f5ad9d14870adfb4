"""Scores of a run, as `ns-eval` writes them."""

import json
from pathlib import Path
from typing import Any

from nerfstudio.scripts.eval import ComputePSNR

from semantic_ns.trainer import SemanticTrainerConfig


def scores(config: SemanticTrainerConfig, folder: Path) -> dict[str, Any]:
    ComputePSNR(config.get_base_dir() / "config.yml", folder / "scores.json").main()
    return json.loads((folder / "scores.json").read_text())["results"]
