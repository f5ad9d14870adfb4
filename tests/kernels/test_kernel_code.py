"""How kernels must be written, for numba drops some of what a parallel one writes without a word."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.fresh_process import ROOT

KERNELS = sorted((ROOT / "semantic_ns").rglob("*_numba.py"))
PARALLEL = "kernel"
"""The decorator of functions that numba runs on all cores; see `semantic_ns.kernels.compilation`."""


def base_of(node: ast.expr) -> ast.expr:
    """What an element belongs to: `a.b` of `a.b[i][j]`."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return node


def bindings(target: ast.expr, value: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    """The single targets of an assignment, each with the expression that it is taken from."""
    if not isinstance(target, ast.Tuple):
        yield target, value
    elif isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts):
        for one, its in zip(target.elts, value.elts, strict=True):
            yield from bindings(one, its)
    else:
        for one in target.elts:
            yield from bindings(one, value)


def assignments(function: ast.FunctionDef) -> Iterator[tuple[ast.expr, ast.expr]]:
    """The targets of all assignments in a function; those that add to a target come with what they add."""
    for node in ast.walk(function):
        if isinstance(node, ast.AugAssign):
            yield node.target, node.value
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                yield from bindings(target, node.value)


def parallel_kernels(source: str) -> list[ast.FunctionDef]:
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return [function for function in functions if PARALLEL in map(ast.unparse, function.decorator_list)]


def writes_through_members(source: str) -> list[int]:
    """Lines on which a parallel kernel writes elements of `tuple.member`, by that or another name.

    numba does not see that such a member is an argument's and removes the write as dead code. It does see that of
    members that are unpacked, and it never removes the call of a part, whatever that writes.
    """
    lines = []
    for kernel in parallel_kernels(source):
        pairs = list(assignments(kernel))
        members = {
            target.id for target, value in pairs
            if isinstance(target, ast.Name) and isinstance(base_of(value), ast.Attribute)
        }  # fmt: skip
        for target, _ in pairs:
            base = base_of(target)
            is_member = isinstance(base, ast.Attribute) or (isinstance(base, ast.Name) and base.id in members)
            if is_member and isinstance(target, ast.Subscript):
                lines.append(target.lineno)
    return sorted(lines)


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
def test_no_parallel_kernel_writes_through_a_member_of_a_tuple(path: Path) -> None:
    assert not writes_through_members(path.read_text())


@pytest.mark.parametrize(
    "body",
    [
        "g.b[i] += 1",
        "g.b[i, 0] = 1",
        "g.b[i][0] = 1",
        "a, g.b[i] = 1, 2",
        "b = g.b; b[i] += 1",
        "b = g.b[i]; b[0] += 1",
        "a, b = x, g.b; b[i] = 1",
        "a, b = g.c; b[i] = 1",
    ],
)
def test_a_write_through_a_member_is_found(body: str) -> None:
    assert writes_through_members(f"@kernel\ndef f(g, x, i):\n    {body}\n") == [3]


@pytest.mark.parametrize(
    "source",
    [
        "@kernel\ndef f(g, i):\n    a, b = g\n    b[i] += 1\n",
        "@kernel\ndef f(g, i):\n    add(g.b, i)\n",
        "@kernel\ndef f(g, x, i):\n    x[i] = g.b[i]\n",
        "@part\ndef f(g, i):\n    g.b[i] += 1\n",
    ],
)
def test_other_writes_are_fine(source: str) -> None:
    assert writes_through_members(source) == []
