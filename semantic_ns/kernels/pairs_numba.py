"""Weighted sums over rows of two floats each, such as those of a hash grid with two features per level.

A row is read, multiplied and written as one vector of two lanes. The loops that a compiler makes of plain Python loops
move each float on its own and take half as long again.

Arrays are C-contiguous; ``table`` holds rows [N, 2] of float32, ``rows`` [8, B] of uint32 numbers them, ``shares``
[8, B] of float32 weighs them.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from semantic_ns.kernels.multiply_add_numba import multiply_add

_TERMS = 8
_INDEX = ir.IntType(64)
_PAIR = ir.VectorType(ir.FloatType(), 2)
_UNKNOWN = ir.Constant(_PAIR, ir.Undefined)
_BOTH_LANES = ir.Constant(ir.VectorType(ir.IntType(32), 2), None)


def _data(context, builder, signature, arguments, position):
    """Address of the first element of an array argument."""
    return context.make_array(signature.args[position])(context, builder, arguments[position]).data


def _pair_at(builder, data, offset):
    """Address of two floats by the flat index of the first."""
    return builder.bitcast(builder.gep(data, [offset]), _PAIR.as_pointer())


def _terms(context, builder, signature, arguments):
    """For column ``column`` of ``rows`` and ``shares``: address in ``table`` and weight, in both lanes, of each term.

    The intrinsics below begin with the arguments ``rows, shares, column, table``.
    """
    rows, shares, table = (_data(context, builder, signature, arguments, position) for position in (0, 1, 3))
    column = context.cast(builder, arguments[2], signature.args[2], types.int64)
    all_rows = context.make_array(signature.args[0])(context, builder, arguments[0])
    stride = cgutils.unpack_tuple(builder, all_rows.shape)[1]
    for term in range(_TERMS):
        at = builder.add(column, builder.mul(stride, _INDEX(term)))
        row = builder.zext(builder.load(builder.gep(rows, [at])), _INDEX)
        lane = builder.insert_element(_UNKNOWN, builder.load(builder.gep(shares, [at])), ir.IntType(32)(0))
        share = builder.shuffle_vector(lane, _UNKNOWN, _BOTH_LANES)
        yield _pair_at(builder, table, builder.shl(row, _INDEX(1))), share


@intrinsic
def blend_pairs(typing_context, rows, shares, column, table, out, out_at):
    """``out.flat[out_at : out_at + 2] = sum_c shares[c, column] * table[rows[c, column]]``."""
    del typing_context
    signature = types.void(rows, shares, column, table, out, out_at)

    def generate(context, builder, signature, arguments):
        # Two sums beside each other, for each term would wait for the one before.
        halves = [ir.Constant(_PAIR, None), ir.Constant(_PAIR, None)]
        for term, (place, share) in enumerate(_terms(context, builder, signature, arguments)):
            halves[term % 2] = multiply_add(builder, share, builder.load(place, align=4), halves[term % 2])
        total = builder.fadd(*halves)
        out_at = context.cast(builder, arguments[5], signature.args[5], types.int64)
        out = _data(context, builder, signature, arguments, 4)
        builder.store(total, _pair_at(builder, out, out_at), align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def spread_pair(typing_context, rows, shares, column, table, pair):
    """``table[rows[c, column]] += shares[c, column] * pair[column]``, one term after the other."""
    del typing_context
    signature = types.void(rows, shares, column, table, pair)

    def generate(context, builder, signature, arguments):
        column = context.cast(builder, arguments[2], signature.args[2], types.int64)
        pairs = _data(context, builder, signature, arguments, 4)
        value = builder.load(_pair_at(builder, pairs, builder.shl(column, _INDEX(1))), align=4)
        for place, share in _terms(context, builder, signature, arguments):
            builder.store(multiply_add(builder, share, value, builder.load(place, align=4)), place, align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def prefetch_pair(typing_context, table, row):
    """Ask for row ``row`` of ``table`` to be in the cache soon."""
    del typing_context
    signature = types.void(table, row)

    def generate(context, builder, signature, arguments):
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        row = context.cast(builder, arguments[1], signature.args[1], types.int64)
        data = _data(context, builder, signature, arguments, 0)
        place = builder.bitcast(_pair_at(builder, data, builder.shl(row, _INDEX(1))), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [place, flag(0), flag(3), flag(1)])  # to read, to keep, data
        return context.get_dummy_value()

    return signature, generate
