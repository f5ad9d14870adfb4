"""Defects of released code, each with a switch by which published numbers can be compared."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

_Defects = TypeVar("_Defects", bound="Defects")  # tests check annotations function by function, without Self


@dataclass(frozen=True)
class Defects:
    """Which defects are restored; by default none. A subclass has a field that is false for each of them."""

    @classmethod
    def of(cls: type[_Defects], names: Sequence[str]) -> _Defects:  # noqa: PYI019
        """The defects of some names, with hyphens; `all` means each of them."""
        known = [one.name for one in fields(cls)]
        return cls(**{name.replace("-", "_"): True for name in (known if "all" in names else names)})

    def names(self) -> tuple[str, ...]:
        """Names of the restored defects."""
        return tuple(one.name.replace("_", "-") for one in fields(self) if getattr(self, one.name))
