"""What lies in an offline bundle beside the wheels: a list for the check, the check, the installation, a README."""

import json
import shutil
from pathlib import Path
from typing import Any

from offline_plan import Plan
from packaging.specifiers import SpecifierSet
from packaging.version import Version

SCRIPTS = Path(__file__).resolve().parent

README = """# semantic_ns {version}, to be installed without a network

For Python {python} on {platform}: {count} wheels, {size:.1f} MB.

```bash
bash install.sh             # into the environment of python3, or of the interpreter in the variable PYTHON
bash install.sh FOLDER      # or into a folder, where the environment cannot be written to; then:
export PYTHONPATH=FOLDER    # in each shell, and
python3 -m nerfstudio.scripts.train semantic-nerf --data SCENE      # is ns-train
```

An installation leaves alone what is there and fits, and ends with the check, which can be run at any time:

```bash
python3 check.py            # versions, imports, methods, CUDA
python3 check.py --train    # besides, ten training steps of every method in a room that it makes up
```

{expected}
## In this folder

| package | version | allowed versions | MB | needed by |
|---|---|---|---|---|
{brought}

## Left out

| package | why |
|---|---|
{left_out}
"""

EXPECTED = """## Expected on the machine

| package | allowed versions | needed by |
|---|---|---|
{rows}

What is missing there is brought by making the bundle again with `--bring PACKAGE`.
"""


def simplified(versions: SpecifierSet) -> SpecifierSet:
    """The same versions with one lower bound, the greatest: `>=1, >=2, <3` becomes `>=2, <3`."""
    bounds = [part for part in versions if part.operator in (">=", ">")]
    # Of two bounds at the same version the one that leaves it out is the stricter.
    least = max(bounds, key=lambda part: (Version(part.version), part.operator == ">"), default=None)
    return SpecifierSet(",".join(str(part) for part in versions if part not in bounds or part is least))


def shown(versions: SpecifierSet) -> str:
    """Allowed versions with the least one first, or 'any'."""
    parts = sorted(simplified(versions), key=lambda part: (part.operator not in (">=", ">", "=="), str(part)))
    return ", ".join(str(part) for part in parts) or "any"


def bundle_list(plan: Plan, python: str, platform: str) -> dict[str, Any]:
    """What check.py reads: for each needed package its allowed versions and its wheel, None where it is expected."""
    needed = {
        name: {
            "versions": str(simplified(plan.versions.get(name, SpecifierSet()))),
            "wheel": plan.wheels[name].filename if name in plan.wheels else None,
        }
        for name in sorted({*plan.wheels, *plan.expected})
    }
    return {"python": python, "platform": platform, "needed": needed}


def readme(plan: Plan, python: str, platform: str) -> str:
    """Text of the folder's README.md."""

    def needed_by(name: str) -> str:
        return ", ".join(sorted(plan.needed_by.get(name, ())))

    brought = [
        f"| {name} | {wheel.version} | {shown(plan.versions.get(name, SpecifierSet()))} | {wheel.size / 1e6:.2f} "
        f"| {needed_by(name)} |"
        for name, wheel in sorted(plan.wheels.items())
    ]
    expected = [f"| {name} | {shown(plan.versions[name])} | {needed_by(name)} |" for name in sorted(plan.expected)]
    return README.format(
        version=plan.wheels["semantic-ns"].version,
        python=python,
        platform=platform,
        count=len(plan.wheels),
        size=plan.size / 1e6,
        brought="\n".join(brought),
        expected=EXPECTED.format(rows="\n".join(expected)) if expected else "",
        left_out="\n".join(f"| {name} | {reason} |" for name, reason in sorted(plan.left_out.items())),
    )


def write_folder(folder: Path, plan: Plan, python: str, platform: str) -> None:
    """Write all but the wheels into a folder."""
    listed = bundle_list(plan, python, platform)
    (folder / "bundle.json").write_text(json.dumps(listed, indent=1) + "\n")
    (folder / "README.md").write_text(readme(plan, python, platform))
    shutil.copyfile(SCRIPTS / "offline_check.py", folder / "check.py")
    shutil.copyfile(SCRIPTS / "offline_install.sh", folder / "install.sh")
