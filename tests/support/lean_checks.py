"""Checks of the types in signatures that cost less where no array is in them."""

import inspect
from collections.abc import Callable
from typing import Any, ForwardRef, Literal, TypeVar, get_args, get_origin

import jaxtyping
from beartype import BeartypeConf
from jaxtyping import AbstractArray, TypeCheckError

_with_axes: Any = jaxtyping.jaxtyped
_SAME_ERROR = BeartypeConf(violation_type=TypeCheckError)


def check_lean() -> None:
    """Have the type checker alone check functions in whose signatures there is no array; call it before the imports.

    Such functions have no axes whose sizes could differ. Beside them jaxtyping checks all arguments twice, which takes
    5 microseconds a call in place of .2, and a process a second to import the package. Errors are those of jaxtyping:
    what catches a `TypeError` catches them in either case.
    """
    jaxtyping.jaxtyped = _decorator  # what the import hook calls


def _decorator(*, typechecker: Callable[..., Any]) -> Callable[[Any], Any]:
    def checked(function: Any) -> Any:
        if inspect.isfunction(function) and not any(map(may_hold_array, function.__annotations__.values())):
            return typechecker(function, conf=_SAME_ERROR)
        return _with_axes(function, typechecker=typechecker)

    return checked


def may_hold_array(hint: Any) -> bool:
    """Whether there is an array in an annotation, or something of which that is not known yet."""
    if isinstance(hint, str | ForwardRef | TypeVar):
        return True
    if isinstance(hint, list):  # the arguments of a function
        return any(map(may_hold_array, hint))
    if get_origin(hint) is Literal:
        return False
    return (inspect.isclass(hint) and issubclass(hint, AbstractArray)) or any(map(may_hold_array, get_args(hint)))
