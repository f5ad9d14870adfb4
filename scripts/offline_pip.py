"""Wheels for another machine, found and downloaded by pip from the index that it is configured for."""

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.parser import HeaderParser
from pathlib import Path

from offline_plan import BundleError, NoWheelError, Wheel, platform_tags
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

_NO_NETWORK = re.compile(
    "connection broken by|Failed to establish a new connection|NameResolutionError|Network is unreachable"
    "|ConnectTimeout"
)
_NO_WHEEL = re.compile(r"No matching distribution found|Could not find a version that satisfies")

Run = Callable[[list[str]], "subprocess.CompletedProcess[str]"]


def run_pip(arguments: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run pip of this interpreter; its exit status is for the caller to look at."""
    # A second retry and a long time-out only delay the sentence about a missing network.
    command = [sys.executable, "-m", "pip", *arguments, "--disable-pip-version-check", "--retries", "1"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def failure(package: str, machine: str, message: str) -> BundleError:
    """The error that pip's message about a package means.

    Args:
        package: its name and versions, or those of several.
        machine: the Python and platform in words.
        message: what pip wrote to standard error.
    """
    if _NO_NETWORK.search(message):
        return BundleError(
            f"pip cannot reach its package index, so {package} cannot be downloaded. Make the bundle on a machine with "
            "a network, and check pip's settings there with `pip config list`."
        )
    if _NO_WHEEL.search(message):
        return NoWheelError(
            f"{package} has no wheel for {machine}. Give another --python or --platform, or build the wheel on such a "
            f"machine with `pip wheel --no-deps '{package}'` and name its folder in the variable PIP_FIND_LINKS."
        )
    lines = [line for line in message.splitlines() if line.strip()]
    return BundleError(f"pip could not download {package}: {lines[-1] if lines else 'it gave no reason'}")


def wheel_metadata(path: Path) -> Wheel:
    """Read the name, version and requirements of a wheel."""
    name, version, _, _ = parse_wheel_filename(path.name)
    with zipfile.ZipFile(path) as archive:
        inside = next(entry for entry in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", entry))
        metadata = HeaderParser().parsestr(archive.read(inside).decode("utf8"))
    requires = tuple(metadata.get_all("Requires-Dist") or ())
    return Wheel(canonicalize_name(name), str(version), path.name, path.stat().st_size, requires)


@dataclass
class PipFetch:
    """Downloads wheels into a folder, in the tested version where that is allowed and exists.

    Attributes:
        python: minor version, such as 3.12.
        platform: see `platform_tags`.
        tested: versions to prefer, by canonical name.
        say: is told the name of each wheel.
    """

    python: str
    platform: str
    folder: Path
    tested: Mapping[str, str] = field(default_factory=dict)
    run: Run = run_pip
    say: Callable[[str], None] = print

    def __call__(self, wanted: Mapping[str, SpecifierSet]) -> tuple[dict[str, Wheel], dict[str, str]]:
        """See `offline_plan.Fetch`. A wheel of the same package that was downloaded before goes away."""
        for name in wanted:
            for old in self._wheels(name):
                old.unlink()
        wheels, lacking = {}, {}
        try:
            # One start of pip for all of them; it stops at the first that it does not find.
            self._download({name: self._preferred(name, versions) for name, versions in wanted.items()})
        except NoWheelError:
            for name, versions in wanted.items():
                try:
                    self._download_one(name, versions)
                except NoWheelError as error:
                    lacking[name] = str(error)
        for name in wanted.keys() - lacking.keys():
            found = self._wheels(name)
            if not found:
                raise BundleError(f"pip said that it downloaded {name}{wanted[name]} but left no wheel of it.")
            self.say(found[0].name)
            wheels[name] = wheel_metadata(found[0])
        return wheels, lacking

    def _wheels(self, name: str) -> list[Path]:
        return [
            path for path in self.folder.glob("*.whl") if canonicalize_name(parse_wheel_filename(path.name)[0]) == name
        ]

    def _preferred(self, name: str, versions: SpecifierSet) -> SpecifierSet:
        """The tested version where it is allowed, else all that are."""
        tested = self.tested.get(name)
        return SpecifierSet(f"=={tested}") if tested and versions.contains(tested, prereleases=True) else versions

    def _download_one(self, name: str, versions: SpecifierSet) -> None:
        """The tested version may have no wheel for this machine where another one has."""
        preferred = self._preferred(name, versions)
        try:
            self._download({name: preferred})
        except NoWheelError:
            if preferred == versions:
                raise
            self._download({name: versions})

    def _download(self, wanted: Mapping[str, SpecifierSet]) -> None:
        platforms = [option for tag in platform_tags(self.platform) for option in ("--platform", tag)]
        packages = [f"{name}{versions}" for name, versions in wanted.items()]
        arguments = ["download", "--no-deps", "--only-binary", ":all:", "--implementation", "cp"]
        arguments += ["--python-version", self.python, *platforms, "--dest", str(self.folder), *packages]
        process = self.run(arguments)
        if process.returncode != 0:
            raise failure(", ".join(packages), f"Python {self.python} on {self.platform}", process.stderr)


def pinned_versions(constraints: str) -> dict[str, str]:
    """Read the versions that a constraints file pins, by canonical name."""
    pins = re.findall(r"^([\w.-]+)==(\S+)$", constraints, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}
