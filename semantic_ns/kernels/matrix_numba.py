"""Small matrix products for tiles that lie in the cache, register-blocked by hand.

A block of 4 x 16 results (others where columns are left over) stays in vector registers while the sum runs. The loop
nest that a compiler makes of plain Python loops keeps it in memory instead and takes twice the time. The vectors have
eight floats; on processors with other registers LLVM splits them. Fewer than eight sums at a time would wait for each
other.

Matrices are C-contiguous float32. Every number of rows must be a multiple of 4 and every number of columns of a result
a multiple of 8: callers pad their tiles, see :func:`padded`.
"""

from typing import no_type_check

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from semantic_ns.kernels.compilation import part
from semantic_ns.kernels.multiply_add_numba import multiply_add

_LANES = 8
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, _LANES)
_FIRST_LANE = ir.Constant(ir.VectorType(ir.IntType(32), _LANES), None)


def _pointer(context, builder, array_type, array, offset):
    """Address of an element of a contiguous array by its flat index."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [offset])


def _block_product(num_rows, num_vectors):  # noqa: C901
    """Make the intrinsic ``c[i, j] = s[i, j] + sum_t a[t, i] b[t, j]`` for so many rows i and vectors of 8 columns j.

    Its arguments are four arrays with flat offsets and strides: c and s with the stride of i; a with those of t and i;
    b with that of t; and the number of terms.
    """

    @intrinsic
    def block(typing_context, c, c_at, c_row, s, s_at, s_row, a, a_at, a_step, a_row, b, b_at, b_step, terms):  # noqa: C901
        del typing_context
        signature = types.void(c, c_at, c_row, s, s_at, s_row, a, a_at, a_step, a_row, b, b_at, b_step, terms)

        def generate(context, builder, signature, arguments):
            kinds = signature.args
            index = ir.IntType(64)

            def integer(position):
                return context.cast(builder, arguments[position], kinds[position], types.int64)

            def first(position):
                return _pointer(context, builder, kinds[position], arguments[position], integer(position + 1))

            c_row, s_row, a_step, a_row, b_step, terms = (integer(position) for position in (2, 5, 8, 9, 12, 13))
            c_first, s_first, a_first, b_first = (first(position) for position in (0, 3, 6, 10))
            vector_pointer = _VECTOR.as_pointer()

            def address(begin, stride, i, v):
                at = builder.add(builder.mul(stride, index(i)), index(_LANES * v))
                return builder.bitcast(builder.gep(begin, [at]), vector_pointer)

            sums = {}
            for i in range(num_rows):
                for v in range(num_vectors):
                    sums[i, v] = cgutils.alloca_once(builder, _VECTOR)
                    builder.store(builder.load(address(s_first, s_row, i, v), align=4), sums[i, v])
            with cgutils.for_range(builder, terms, intp=index) as loop:
                row = builder.gep(b_first, [builder.mul(loop.index, b_step)])
                column = builder.gep(a_first, [builder.mul(loop.index, a_step)])
                vectors = [
                    builder.load(builder.bitcast(builder.gep(row, [index(_LANES * v)]), vector_pointer), align=4)
                    for v in range(num_vectors)
                ]
                for i in range(num_rows):
                    value = builder.load(builder.gep(column, [builder.mul(a_row, index(i))]))
                    lane = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.IntType(32)(0))
                    spread = builder.shuffle_vector(lane, ir.Constant(_VECTOR, ir.Undefined), _FIRST_LANE)
                    for v in range(num_vectors):
                        builder.store(multiply_add(builder, spread, vectors[v], builder.load(sums[i, v])), sums[i, v])
            for i in range(num_rows):
                for v in range(num_vectors):
                    builder.store(builder.load(sums[i, v]), address(c_first, c_row, i, v), align=4)
            return context.get_dummy_value()

        return signature, generate

    return block


_block_4x24, _block_4x16 = _block_product(4, 3), _block_product(4, 2)
_block_8x8, _block_4x8 = _block_product(8, 1), _block_product(4, 1)


@part
@no_type_check
def _columns_by_16(num_columns):
    """Columns to go in blocks of 16, so that the rest is 0, 24, or 8 if there are no more."""
    return num_columns - 24 if num_columns % 16 and num_columns > 16 else num_columns // 16 * 16


@part
@no_type_check
def padded(count, multiple):
    """The next multiple of ``multiple``."""
    return (count + multiple - 1) // multiple * multiple


@part
@no_type_check
def linear(a, w, b, out, num_rows):
    """Out = a w + b; the columns of ``a`` beyond the rows of ``w`` are not read."""
    num_in, num_out = w.shape
    width, stride = a.shape[1], out.shape[1]
    wide = _columns_by_16(num_out)
    rest = num_out - wide
    for r in range(0, num_rows, 4):
        for j in range(0, wide, 16):
            _block_4x16(out, r * stride + j, stride, b, j, 0, a, r * width, 1, width, w, j, num_out, num_in)
        if rest == 24:
            _block_4x24(out, r * stride + wide, stride, b, wide, 0, a, r * width, 1, width, w, wide, num_out, num_in)
        elif rest == 8:
            _block_4x8(out, r * stride + wide, stride, b, wide, 0, a, r * width, 1, width, w, wide, num_out, num_in)


@part
@no_type_check
def add_outer(a, g, out, num_rows):
    """Out += a^T g over the rows: the gradient of a weight matrix [in, out]."""
    num_in, num_out = out.shape
    width, stride = a.shape[1], g.shape[1]
    wide = _columns_by_16(num_out)
    rest = num_out - wide
    for k in range(0, num_in, 4):
        for j in range(0, wide, 16):
            at = k * num_out + j
            _block_4x16(out, at, num_out, out, at, num_out, a, k, width, 1, g, j, stride, num_rows)
        at = k * num_out + wide
        if rest == 24:
            _block_4x24(out, at, num_out, out, at, num_out, a, k, width, 1, g, wide, stride, num_rows)
        elif rest == 8 and k % 8 == 0 and k + 4 < num_in:
            _block_8x8(out, at, num_out, out, at, num_out, a, k, width, 1, g, wide, stride, num_rows)
        elif rest == 8 and k % 8 == 0:
            _block_4x8(out, at, num_out, out, at, num_out, a, k, width, 1, g, wide, stride, num_rows)
