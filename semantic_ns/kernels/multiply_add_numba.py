"""The fused multiply-add of vectors, written out: the compiler may not fuse a product with a sum on its own."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` for each lane of three vectors of float32, rounded once on every processor."""
    kind = c.type
    name = f"llvm.fma.v{kind.count}f32"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind, kind, kind]), name)
    return builder.call(function, [a, b, c])
