"""Which versions of the code the results of a benchmark are of: its folder is taken up again after an update."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semantic_ns.benchmark.runner.place import commit
from semantic_ns.benchmark.runner.results import Result
from semantic_ns.benchmark.runner.trials import TRIALS, read_result, versions

COMMIT = "commit"
_PACKAGE = "semantic-ns"


def code_of(content: Mapping[str, Any]) -> str:
    """The commit that a result is of; the version of the package where none is known, as outside a checkout."""
    if content.get(COMMIT):
        return f"commit {content[COMMIT]}"
    return f"{_PACKAGE} {content.get('versions', {}).get(_PACKAGE, 'of unknown version')}"


def code_here() -> str:
    """The same of the code that runs now."""
    return code_of({COMMIT: commit(), "versions": versions()})


def other_code(output: Path, own: str) -> list[str]:
    """The versions, other than one's own, of the results in the folder of a benchmark."""
    results = (read_result(folder) for folder in (output / TRIALS).glob("*"))
    return sorted({code_of(result) for result in results if result is not None and result["state"] == "done"} - {own})


def sentence_about_other_code(output: Path) -> str:
    """That results in a folder are of other versions of the code than this one; empty where none is."""
    own = code_here()
    if not (others := other_code(output, own)):
        return ""
    return (
        f"{output} holds results of {', '.join(others)}, which stay as they are, while this is {own}; choose another "
        "--output to train all of them with it."
    )


def remarks_on_mixed_code(rows: Mapping[str, Sequence[Result]]) -> str:
    """The rows of a table that average over versions of the code, in markdown; empty where none does.

    Args:
        rows: names of the rows, and what each averages over.
    """
    lines = []
    for name, results in rows.items():
        seeds: dict[str, list[int]] = {}
        for result in results:
            seeds.setdefault(code_of(result.content), []).append(result.trial.seed)
        if len(seeds) > 1:
            said = (f"{code} (seed {', '.join(map(str, sorted(of)))})" for code, of in sorted(seeds.items()))
            lines.append(f"- {name}: {', '.join(said)}")
    return "\n".join(["**These average over different versions of the code:**", "", *lines]) if lines else ""
