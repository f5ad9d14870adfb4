"""Which wheels an offline bundle holds, on metadata that is made up."""

import sys
from collections.abc import Mapping

import pytest
from packaging.specifiers import SpecifierSet

from support.fresh_process import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from offline_plan import (
    BundleError,
    Plan,
    Resolution,
    Wheel,
    checked_python,
    marker_environment,
    packages_on_machine,
    parsed_requirement,
    platform_tags,
)
from offline_rules import LEFT_OUT, RELAXED

Index = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Package, version, requirements."""

LINUX = marker_environment("3.12", "manylinux_2_28_x86_64")


def wheel(name: str, version: str, requires: tuple[str, ...] = ()) -> Wheel:
    return Wheel(name, version, f"{name}-{version}-py3-none-any.whl", 1000, requires)


def resolve(
    index: Index,
    *requires: str,
    bring: tuple[str, ...] = (),
    on_machine: tuple[str, ...] = (),
    environment: Mapping[str, str] = LINUX,
) -> Plan:
    """The plan of a package with these requirements; the newest allowed version in the index is taken."""

    def fetch(wanted: Mapping[str, SpecifierSet]) -> tuple[dict[str, Wheel], dict[str, str]]:
        found, lacking = {}, {}
        for name, versions in wanted.items():
            fitting = list(versions.filter(index.get(name, {})))
            if fitting:
                found[name] = wheel(name, fitting[-1], index[name][fitting[-1]])
            else:
                lacking[name] = f"{name} has none."
        return found, lacking

    brought = [parsed_requirement(text) for text in bring]
    return Resolution(fetch, environment, frozenset(on_machine)).resolve(wheel("own", "1", requires), brought)


def versions_of(plan: Plan) -> dict[str, str]:
    return {name: found.version for name, found in plan.wheels.items() if name != "own"}


def test_a_bundle_holds_what_its_wheels_require_in_turn() -> None:
    plan = resolve({"a": {"1": ("b",)}, "b": {"1": ("c>=2",)}, "c": {"1": (), "2": ()}}, "a")
    assert versions_of(plan) == {"a": "1", "b": "1", "c": "2"}
    assert plan.size == 4000
    assert plan.needed_by["c"] == {"b"}


def test_packages_that_require_each_other_end() -> None:
    assert versions_of(resolve({"a": {"1": ("b[x]",)}, "b": {"1": ("a[y]",)}}, "a")) == {"a": "1", "b": "1"}


def test_names_in_any_spelling_are_one_package() -> None:
    assert versions_of(resolve({"a-b": {"1": ()}}, "A_b", "a.B>=1")) == {"a-b": "1"}


def test_a_later_requirement_replaces_a_wheel_that_it_forbids() -> None:
    plan = resolve({"a": {"1": (), "2": ()}, "b": {"1": ("c",)}, "c": {"1": ("a<2",)}}, "a>=1", "b")
    assert versions_of(plan)["a"] == "1"
    assert plan.versions["a"] == SpecifierSet(">=1,<2")


def test_what_the_machine_has_is_expected_and_not_walked_into() -> None:
    plan = resolve({"a": {"1": ("torch>=2",)}}, "a", "torch>=2.2", on_machine=("torch",))
    assert versions_of(plan) == {"a": "1"}
    assert plan.expected == {"torch"}
    assert plan.versions["torch"] == SpecifierSet(">=2,>=2.2")


def test_what_is_brought_all_the_same_does_not_stand_on_the_machine() -> None:
    brought = [parsed_requirement("NumPy>=2")]
    assert packages_on_machine(False, brought) == frozenset()
    assert {"torch", "scipy"} <= packages_on_machine(True, brought)
    assert "numpy" not in packages_on_machine(True, brought)


def test_what_the_user_asks_for_narrows_what_packages_state() -> None:
    assert versions_of(resolve({"n": {"1": (), "2": ()}}, "n", bring=("n<2",)))["n"] == "1"


def test_a_left_out_package_is_named_with_its_reason_and_brought_on_request() -> None:
    name = next(iter(LEFT_OUT))
    index = {name: {"1": ()}}
    plan = resolve(index, name)
    assert (versions_of(plan), plan.left_out) == ({}, {name: LEFT_OUT[name]})
    plan = resolve(index, name, bring=(name,))
    assert (versions_of(plan), plan.left_out) == ({name: "1"}, {})


def test_nerfstudio_s_pins_are_relaxed_and_nobody_else_s() -> None:
    (parent, name), relaxed = next(iter(RELAXED.items()))
    index = {parent: {"1": (f"{name}==1",)}, "other": {"1": (f"{name}<100",)}, name: {"1": (), "99": ()}}
    plan = resolve(index, parent, "other")
    assert plan.versions[name] == SpecifierSet(relaxed.versions) & SpecifierSet("<100")
    assert versions_of(plan)[name] == "99"


def test_requirements_are_those_of_the_other_machine() -> None:
    index = {name: {"1": ()} for name in ("old", "new", "linux", "mac", "extra")}
    requires = (
        "old; python_version < '3.11'",
        "new; python_version >= '3.12'",
        "linux; sys_platform == 'linux' and platform_machine == 'x86_64'",
        "mac; platform_machine == 'arm64'",
        "extra; extra == 'more'",
    )
    assert set(versions_of(resolve(index, *requires))) == {"new", "linux"}
    mac = marker_environment("3.10", "macosx_14_0_arm64")
    assert set(versions_of(resolve(index, *requires, environment=mac))) == {"old", "mac"}


def test_requirements_of_an_extra_are_met_even_if_the_package_was_met_without_it() -> None:
    index = {"a": {"1": ("x; extra == 'more'",)}, "b": {"1": ("a[more]",)}, "x": {"1": ()}}
    assert set(versions_of(resolve(index, "a", "b"))) == {"a", "b", "x"}


def test_each_package_without_a_wheel_has_a_line_that_says_who_needs_it() -> None:
    with pytest.raises(BundleError) as raised:
        resolve({"a": {"1": ("p", "q>=2")}, "q": {"1": ()}}, "a")
    assert str(raised.value).splitlines() == ["p has none. It is needed by a.", "q has none. It is needed by a."]


def test_wheels_of_an_older_glibc_fit_and_those_of_a_newer_one_do_not() -> None:
    tags = platform_tags("manylinux_2_18_aarch64")
    assert tags[:3] == ["manylinux_2_18_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"]
    assert tags[-2:] == ["manylinux1_aarch64", "linux_aarch64"]
    assert "manylinux_2_19_aarch64" not in tags


@pytest.mark.parametrize("platform", ["macosx_14_0_arm64", "win_amd64"])
def test_platforms_without_glibc_have_one_tag(platform: str) -> None:
    assert platform_tags(platform) == [platform]


@pytest.mark.parametrize("platform", ["linux", "manylinux_3_1_x86_64", "x86_64", "", "win_amd64; rm"])
def test_an_unknown_platform_is_refused_with_what_to_ask_the_machine(platform: str) -> None:
    with pytest.raises(BundleError, match="`uname -m`"):
        platform_tags(platform)


def test_a_python_is_known_by_its_first_two_numbers() -> None:
    assert [checked_python(version, ">=3.10,<3.13") for version in ("3.12", "3.10.4")] == ["3.12", "3.10"]


@pytest.mark.parametrize("version", ["3.9", "3.13", "3", "three", "", "3.12-dev"])
def test_an_unknown_python_is_refused_with_those_that_run(version: str) -> None:
    with pytest.raises(BundleError, match=r"3\.10, 3\.11, 3\.12"):
        checked_python(version, ">=3.10,<3.13")


def test_what_is_no_package_is_refused() -> None:
    with pytest.raises(BundleError, match="numpy>=2"):
        parsed_requirement("numpy=2")
