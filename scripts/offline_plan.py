"""Which packages an offline bundle holds: the closure of what is needed over the metadata of wheels.

Nothing here reaches a network or a file.

A requirement is met in one of four ways: its package is brought as a wheel; it is left out, because no command of ours
imports it; it is taken to be on the machine already; or no wheel of it exists, which is an error.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from offline_rules import BESIDE_TORCH, LEFT_OUT, RELAXED
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name


class BundleError(ValueError):
    """A bundle cannot be made. The message is whole sentences: what was found, and what to do."""


class NoWheelError(BundleError):
    """No wheel of one package fits the Python, the platform and the versions that are allowed."""


@dataclass(frozen=True)
class Wheel:
    """One downloaded wheel.

    Attributes:
        requires: `Requires-Dist` lines of its metadata.
        size: bytes.
    """

    name: str
    version: str
    filename: str
    size: int
    requires: tuple[str, ...] = ()


Fetch = Callable[[Mapping[str, SpecifierSet]], tuple[dict[str, Wheel], dict[str, str]]]
"""Downloads a wheel for each of some packages, given the allowed versions by canonical name.

Returns the wheels that were found, and for each package without one a sentence that says so.
"""


@dataclass
class Plan:
    """What a bundle holds and expects; names are in canonical form.

    Attributes:
        wheels: brought packages.
        versions: what every needed package, brought or expected, has to be; for most it names a minimum.
        expected: packages that the machine has to have already.
        left_out: packages that were asked for and are not needed, with the reason.
        needed_by: for each needed package, those that ask for it.
    """

    wheels: dict[str, Wheel] = field(default_factory=dict)
    versions: dict[str, SpecifierSet] = field(default_factory=dict)
    expected: set[str] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)
    needed_by: dict[str, set[str]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all wheels."""
        return sum(wheel.size for wheel in self.wheels.values())


def python_versions(requires_python: str) -> list[str]:
    """The minor versions of Python 3 that a package allows: '>=3.10,<3.13' gives 3.10, 3.11 and 3.12."""
    allowed = SpecifierSet(requires_python)
    return [f"3.{minor}" for minor in range(6, 30) if allowed.contains(f"3.{minor}.0")]


def checked_python(version: str, requires_python: str) -> str:
    """Return the version as 'major.minor'."""
    allowed = python_versions(requires_python)
    minor = ".".join(version.split(".")[:2])
    if minor not in allowed or not re.fullmatch(r"\d+(\.\d+)+", version):
        raise BundleError(
            f"Expected a Python that this package runs on ({', '.join(allowed)}), found {version!r}. Ask the machine "
            "with `python3 --version`, and give the first two numbers to --python."
        )
    return minor


_MANYLINUX = re.compile(r"manylinux_(\d+)_(\d+)_(\w+)")
_OTHER_SYSTEM = re.compile(r"macosx_\d+_\d+_(?:x86_64|arm64)|win_amd64|win_arm64")
_ALIASES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
"""Names of PEP 513, 571 and 599 for glibc 2.x."""


def platform_tags(platform: str) -> list[str]:
    """Tags of the wheels that run on a platform, best first: glibc is backward compatible (PEP 600).

    Args:
        platform: `manylinux_2_28_x86_64` means Linux on x86-64 with glibc 2.28 or newer.
    """
    match = _MANYLINUX.fullmatch(platform)
    if match is None or match[1] != "2":
        if _OTHER_SYSTEM.fullmatch(platform):
            return [platform]
        raise BundleError(
            "Expected a platform tag such as manylinux_2_28_x86_64, macosx_14_0_arm64 or win_amd64, found "
            f"{platform!r}. On Linux the two numbers are the version of glibc, which `ldd --version` prints on the "
            "machine, and the rest is the processor, which `uname -m` prints."
        )
    tags = []
    for minor in range(int(match[2]), 4, -1):
        tags.append(f"manylinux_2_{minor}_{match[3]}")
        if minor in _ALIASES:
            tags.append(f"{_ALIASES[minor]}_{match[3]}")
    return [*tags, f"linux_{match[3]}"]


def marker_environment(python: str, platform: str) -> dict[str, str]:
    """Values of the environment markers (PEP 508) on a machine that is not this one."""
    if platform.startswith("macosx"):
        names, machine = ("posix", "darwin", "Darwin"), platform.split("_", 3)[3]
    elif platform.startswith("win"):
        names, machine = ("nt", "win32", "Windows"), platform.removeprefix("win_").upper()
    else:
        match = _MANYLINUX.fullmatch(platform)
        names, machine = ("posix", "linux", "Linux"), match[3] if match else ""
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "platform_python_implementation": "CPython",
        "os_name": names[0],
        "sys_platform": names[1],
        "platform_system": names[2],
        "platform_machine": machine,
        "platform_release": "",
        "platform_version": "",
    }


def parsed_requirement(text: str) -> Requirement:
    """Read a requirement that the user wrote."""
    try:
        return Requirement(text)
    except InvalidRequirement:
        raise BundleError(
            f"Expected a package, with versions if wanted, such as scipy or 'numpy>=2', found {text!r}."
        ) from None


@dataclass
class Resolution:
    """Walks from requirements to the packages that meet them, and to what those require.

    Attributes:
        fetch: see `Fetch`.
        environment: markers' values, see `marker_environment`.
        on_machine: canonical names of packages that the machine has already.
    """

    fetch: Fetch
    environment: Mapping[str, str]
    on_machine: frozenset[str] = frozenset()
    plan: Plan = field(default_factory=Plan)
    _lacking: dict[str, str] = field(default_factory=dict)
    _walked: set[tuple[str, str, frozenset[str]]] = field(default_factory=set)

    def resolve(self, own: Wheel, brought: Iterable[Requirement] = ()) -> Plan:
        """Return the plan for one wheel and further requirements, with all that they need.

        It goes level by level, so that pip starts a few times only, and never back: where a later requirement forbids
        a wheel that was taken, another one is taken within all versions seen so far. Raises `BundleError` with one line
        for each package that has no wheel.
        """
        self.plan.wheels[own.name] = own
        todo = [(requirement, "--bring") for requirement in brought]
        todo += [(requirement, own.name) for requirement in self._requirements(own, frozenset())]
        while todo:
            todo = self._next_level(todo)
        if self._lacking:
            lines = [f"{text} It is needed by {self._parents(name)}." for name, text in self._lacking.items()]
            raise BundleError("\n".join(lines))
        return self.plan

    def _parents(self, name: str) -> str:
        return " and ".join(sorted(self.plan.needed_by[name]))

    def _next_level(self, todo: list[tuple[Requirement, str]]) -> list[tuple[Requirement, str]]:
        """Meet some requirements, and return those that the wheels which meet them have in turn."""
        wheels, extras = self.plan.wheels, {}
        for requirement, parent in todo:
            name = canonicalize_name(requirement.name)
            if self._note(name, requirement, parent):
                extras[name] = extras.get(name, frozenset()) | requirement.extras
        wanted = {
            name: self.plan.versions[name]
            for name in extras
            if name not in wheels or not self.plan.versions[name].contains(wheels[name].version, prereleases=True)
        }
        if wanted:
            found, lacking = self.fetch(wanted)
            wheels.update(found)
            self._lacking.update(lacking)
        level = []
        for name in extras.keys() - self._lacking.keys():
            walk = (name, wheels[name].version, extras[name])
            if walk not in self._walked:
                self._walked.add(walk)
                level += [(needed, name) for needed in self._requirements(wheels[name], extras[name])]
        return level

    def _note(self, name: str, requirement: Requirement, parent: str) -> bool:
        """Enter a requirement into the plan; return whether a wheel has to meet it."""
        plan = self.plan
        # What the user wants brought comes first, so that its versions are noted before a package asks for it.
        if name in LEFT_OUT and parent != "--bring" and name not in plan.versions:
            plan.left_out[name] = LEFT_OUT[name]
            return False
        relaxed = RELAXED.get((parent, name))
        stated = SpecifierSet(relaxed.versions) if relaxed else requirement.specifier
        plan.versions[name] = plan.versions.get(name, SpecifierSet()) & stated
        plan.needed_by.setdefault(name, set()).add(parent)
        if name in self.on_machine:
            plan.expected.add(name)
        return name not in self.on_machine and name not in self._lacking

    def _requirements(self, wheel: Wheel, extras: frozenset[str]) -> list[Requirement]:
        """What a wheel requires on the machine, with some of its extras."""
        environments = [{**self.environment, "extra": extra} for extra in ("", *sorted(extras))]
        requirements = [Requirement(line) for line in wheel.requires]
        return [
            needed
            for needed in requirements
            if needed.marker is None or any(needed.marker.evaluate(environment) for environment in environments)
        ]


def packages_on_machine(beside_torch: bool, brought: Iterable[Requirement]) -> frozenset[str]:
    """Names that a bundle leaves to the machine; what the user wants brought is not among them."""
    if not beside_torch:
        return frozenset()
    return frozenset(BESIDE_TORCH) - {canonicalize_name(requirement.name) for requirement in brought}
