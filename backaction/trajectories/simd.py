"""Short vectors as numba values, so that sums over lanes stay in registers.

numba accumulates ``y[r, lane] += …`` through memory, because it cannot prove that `y` does not alias
the input; a first-class vector value lets LLVM keep the row's sum in registers (38 against 10 GF/s
for a banded complex operator on 16 lanes).  Widths of doubles: 32 for lanes of state vectors, 16 for runs of columns,
4 for lanes of density matrices; and a *line*, the 64 bytes of a cache line, which is 8 doubles or
16 singles, as the array has it.  Arithmetic takes any.

With ``NUMBA_DISABLE_JIT=1`` the same names are plain NumPy functions.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

LINE = 64  #: bytes of a cache line


def at_line(shape: int | tuple[int, ...], dtype: Any = float) -> np.ndarray:
    """An array, not filled, that begins at a cache line: vectors across two lines load at half the speed."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    memory = np.empty(size + LINE, dtype=np.uint8)
    begin = -memory.ctypes.data % LINE
    return memory[begin : begin + size].view(kind).reshape(shape)


def line_up(work: Any) -> Any:
    """A named tuple, and those within it, with copies of its arrays that begin at a cache line."""
    if isinstance(work, np.ndarray):
        copy = at_line(work.shape, work.dtype)
        copy[...] = work
        return copy
    return type(work)(*map(line_up, work)) if isinstance(work, tuple) else work


class Vector(types.Type):
    """numba type of a vector of `width` floating point numbers of so many bits."""

    def __init__(self, width: int, bits: int = 64) -> None:
        self.width = width
        self.bits = bits
        super().__init__(name=f"Vector{width}" if bits == 64 else f"Vector{width}x{bits}")

    @property
    def element(self) -> types.Float:
        """numba type of an element."""
        return types.float64 if self.bits == 64 else types.float32

    @property
    def llvm(self) -> ir.VectorType:
        """The same vector as LLVM has it."""
        return ir.VectorType(ir.DoubleType() if self.bits == 64 else ir.FloatType(), self.width)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Vector) -> None:
        super().__init__(manager, fe_type, fe_type.llvm)


def _pointer(context: Any, builder: Any, signature: Any, args: Any, vector: Vector) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.bitcast(builder.gep(array.data, [args[1]]), vector.llvm.as_pointer())


def _load(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    vector = signature.return_type
    return builder.load(_pointer(context, builder, signature, args, vector), align=vector.bits // 8)


def _splat(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    width = signature.return_type.width
    undefined = ir.Constant(signature.return_type.llvm, ir.Undefined)
    one = builder.insert_element(undefined, args[0], ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
    return builder.shuffle_vector(one, undefined, mask)


def _memory(width: int) -> tuple:
    """(load, splat) for one width."""
    vector = Vector(width)

    @intrinsic
    def load(typing_context, array, index):  # type: ignore[no-untyped-def]
        return vector(array, types.uintp), _load

    @intrinsic
    def splat(typing_context, value):  # type: ignore[no-untyped-def]
        return vector(types.float64), _splat

    return load, splat


def _arithmetic(name: str, arity: int) -> Any:
    """An operation on vectors of one width: an instruction of the builder or an LLVM intrinsic."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        if not name.startswith("llvm."):
            return getattr(builder, name)(*args)
        vector = signature.return_type
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector.llvm, [vector.llvm] * arity), f"{name}.v{vector.width}f{vector.bits}"
        )
        return builder.call(function, args)

    if arity == 1:

        @intrinsic
        def unary(typing_context, a):  # type: ignore[no-untyped-def]
            return a(a), codegen

        return unary
    if arity == 2:

        @intrinsic
        def binary(typing_context, a, b):  # type: ignore[no-untyped-def]
            return a(a, b), codegen

        return binary

    @intrinsic
    def ternary(typing_context, a, b, c):  # type: ignore[no-untyped-def]
        return a(a, b, c), codegen

    return ternary


if numba.config.DISABLE_JIT:

    def _numpy_load(width: int) -> Any:
        return lambda array, index: array.reshape(-1)[index : index + width].copy()

    load32, load16, load4 = _numpy_load(32), _numpy_load(16), _numpy_load(4)

    def splat32(value: float) -> Any:
        return np.full(32, value)

    def splat16(value: float) -> Any:
        return np.full(16, value)

    def splat4(value: float) -> Any:
        return np.full(4, value)

    def load_as(array: np.ndarray, index: int, like: np.ndarray) -> Any:
        return array.reshape(-1)[index : index + like.size].copy()

    def splat_as(value: float, like: np.ndarray) -> Any:
        return np.full(like.size, value, dtype=like.dtype)

    def line_width(array: np.ndarray) -> int:
        return 64 // array.itemsize

    def load_line(array: np.ndarray, index: int) -> Any:
        return array.reshape(-1)[index : index + line_width(array)].copy()

    def value_line(values: np.ndarray, index: int) -> Any:
        return np.full(line_width(values), values.reshape(-1)[index])

    def at(values: np.ndarray, index: int) -> Any:
        value = values.reshape(-1)[index]
        return float(value) if values.dtype.kind == "f" else int(value)

    def wide(value: np.ndarray) -> Any:
        return value.astype(np.float64)

    def store(array: np.ndarray, index: int, value: np.ndarray) -> None:
        array.reshape(-1)[index : index + value.size] = value

    def fma(a: Any, b: Any, c: Any) -> Any:
        return a * b + c

    def value16(values: np.ndarray, index: int) -> Any:
        return np.full(16, values[index]) if values.ndim == 1 else values[index].copy()

    def value4(values: np.ndarray, index: int) -> Any:
        return np.full(4, values[index]) if values.ndim == 1 else values[index, :4].copy()

    def spread16(values: np.ndarray, index: int) -> Any:
        return np.repeat(values[index], 4)

    def total(a: np.ndarray) -> Any:
        while a.size > 1:
            a = a[: a.size // 2] + a[a.size // 2 :]
        return a[0]

    def as_bits(value: float) -> Any:
        return np.float64(value).view(np.uint64)

    def as_float(bits: int) -> Any:
        return np.uint64(bits).view(np.float64)

    def store_transposed(rows: np.ndarray, start: int, next_row: int, imaginary: int, out: np.ndarray, to: int,
                         next_column: int) -> None:  # fmt: skip
        flat, target = rows.reshape(-1), out.reshape(-1)
        for i in range(4):
            for k in range(4):
                at = start + i * next_row + k
                target[to + i + k * next_column] = complex(flat[at], flat[at + imaginary])

    def expect_writing(array: np.ndarray, index: int) -> None:
        pass

    def rough_root(a: np.ndarray) -> Any:
        return np.ldexp(1.0, (np.frexp(a)[1] - 1) // 2)

    def any_below(a: np.ndarray, b: np.ndarray) -> bool:
        return bool(np.any(~(a >= b)))

    mul, add, sub, div = np.multiply, np.add, np.subtract, np.divide
    neg, sqrt, minimum, maximum = np.negative, np.sqrt, np.minimum, np.maximum
else:
    load32, splat32 = _memory(32)
    load16, splat16 = _memory(16)
    load4, splat4 = _memory(4)

    @intrinsic
    def load_as(typing_context, array, index, like):  # type: ignore[no-untyped-def]
        """array[index : index + width] with the width of `like`."""
        return like(array, types.uintp, like), _load

    def _line(array: types.Array) -> Vector:
        return Vector(512 // array.dtype.bitwidth, array.dtype.bitwidth)

    @intrinsic
    def line_width(typing_context, array):  # type: ignore[no-untyped-def]
        """Elements of a cache line, as a constant: so much of the arithmetic of indices is done by the compiler."""

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            return context.get_constant(types.intp, _line(array).width)

        return types.intp(array), codegen

    @intrinsic
    def load_line(typing_context, array, index):  # type: ignore[no-untyped-def]
        """The cache line from array[index] on."""
        return _line(array)(array, types.uintp), _load

    def _element(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.load(builder.gep(array.data, [args[1]]))

    @intrinsic
    def value_line(typing_context, values, index):  # type: ignore[no-untyped-def]
        """values[index] in every lane of a line."""

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            return _splat(context, builder, signature, [_element(context, builder, signature, args)])

        return _line(values)(values, types.uintp), codegen

    @intrinsic
    def at(typing_context, values, index):  # type: ignore[no-untyped-def]
        """The element number `index` >= 0, as int or float: without the instructions that count back from the end."""
        kind = types.intp if isinstance(values.dtype, types.Integer) else types.float64

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            return context.cast(builder, _element(context, builder, signature, args), values.dtype, kind)

        return kind(values, types.uintp), codegen

    @intrinsic
    def wide(typing_context, value):  # type: ignore[no-untyped-def]
        """A vector with its elements as doubles."""

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            return args[0] if value.bits == 64 else builder.fpext(args[0], signature.return_type.llvm)

        return Vector(value.width)(value), codegen

    @intrinsic
    def splat_as(typing_context, value, like):  # type: ignore[no-untyped-def]
        """`value` in every lane, with the width of `like`."""
        return like(like.element, like), _splat

    @intrinsic
    def store(typing_context, array, index, value):  # type: ignore[no-untyped-def]
        """array[index : index + width] = value."""

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            vector = signature.args[2]
            builder.store(args[2], _pointer(context, builder, signature, args, vector), align=vector.bits // 8)
            return context.get_dummy_value()

        return types.void(array, types.uintp, value), codegen

    def _value(width: int) -> Any:
        """values[index] in every lane for (n,) values; values[index, :width] for (n, 16) values."""
        vector = Vector(width)

        @intrinsic
        def value(typing_context, values, index):  # type: ignore[no-untyped-def]
            def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
                array = context.make_array(signature.args[0])(context, builder, args[0])
                if values.ndim == 1:
                    return _splat(context, builder, signature, [builder.load(builder.gep(array.data, [args[1]]))])
                row = builder.mul(args[1], ir.Constant(args[1].type, 16))
                return _load(context, builder, signature, [args[0], row])

            return vector(values, types.uintp), codegen

        return value

    value16, value4 = _value(16), _value(4)

    @intrinsic
    def spread16(typing_context, values, index):  # type: ignore[no-untyped-def]
        """values[index] of (n, 4) values, each element four times."""

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            array = context.make_array(signature.args[0])(context, builder, args[0])
            kind = ir.VectorType(ir.DoubleType(), 4)
            row = builder.mul(args[1], ir.Constant(args[1].type, 4))
            four = builder.load(builder.bitcast(builder.gep(array.data, [row]), kind.as_pointer()), align=8)
            mask = ir.Constant(ir.VectorType(ir.IntType(32), 16), [i // 4 for i in range(16)])
            return builder.shuffle_vector(four, ir.Constant(kind, ir.Undefined), mask)

        return Vector(16)(values, types.uintp), codegen

    @intrinsic
    def total(typing_context, a):  # type: ignore[no-untyped-def]
        """Sum of the elements, their number a power of two: the halves are added, and those of the result, …"""

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            vector, width = args[0], signature.args[0].width
            while width > 1:
                width //= 2
                halves = (
                    ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(begin, begin + width)))
                    for begin in (0, width)
                )
                vector = builder.fadd(*(builder.shuffle_vector(vector, vector, half) for half in halves))
            return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

        return a.element(a), codegen

    def _same_bits(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(signature.return_type))

    @intrinsic
    def as_bits(typing_context, value):  # type: ignore[no-untyped-def]
        """The 64 bits of a float as an integer."""
        return types.uint64(types.float64), _same_bits

    @intrinsic
    def as_float(typing_context, bits):  # type: ignore[no-untyped-def]
        """The float with these 64 bits."""
        return types.float64(types.uint64), _same_bits

    @intrinsic
    def store_transposed(typing_context, rows, start, next_row, imaginary, out, to, next_column):  # type: ignore[no-untyped-def]
        """out[to + i + k next_column] = rows[start + i next_row + k] + i rows[… + imaginary] for i, k < 4.

        Four complex numbers are written at once, a cache line, where a loop would write one by one.
        """

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            source, begin, row, shift, target, first, column = args

            def ahead(start: Any, step: Any, n: int) -> Any:
                return builder.add(start, builder.mul(step, ir.Constant(step.type, n)))

            def loaded(index: Any) -> Any:
                return _load(context, builder, Vector(4)(signature.args[0], types.uintp), [source, index])

            def shuffled(a: Any, b: Any, mask: list[int]) -> Any:
                return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(mask)), mask))

            pairs = []  # of row i: real and imaginary part of column 0, of column 1, …
            for i in range(4):
                re = loaded(ahead(begin, row, i))
                im = loaded(builder.add(ahead(begin, row, i), shift))
                pairs.append(shuffled(re, im, [0, 4, 1, 5, 2, 6, 3, 7]))
            for k in range(4):
                mask = [2 * k, 2 * k + 1, 8 + 2 * k, 9 + 2 * k]
                halves = shuffled(pairs[0], pairs[1], mask), shuffled(pairs[2], pairs[3], mask)
                line = shuffled(halves[0], halves[1], list(range(8)))
                place = [target, ahead(first, column, k)]
                builder.store(
                    line, _pointer(context, builder, types.void(signature.args[4]), place, Vector(8)), align=8
                )
            return context.get_dummy_value()

        index = types.uintp
        return types.void(rows, index, index, index, out, index, index), codegen

    @intrinsic
    def expect_writing(typing_context, array, index):  # type: ignore[no-untyped-def]
        """Fetch the cache line of an element that will be written; it may lie beyond the array."""

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            data = context.make_array(signature.args[0])(context, builder, args[0]).data
            byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.VoidType(), [byte, number, number, number]), "llvm.prefetch.p0"
            )
            place = builder.bitcast(builder.gep(data, [args[1]]), byte)
            builder.call(function, [place, *(ir.Constant(number, value) for value in (1, 3, 1))])
            return context.get_dummy_value()

        return types.void(array, types.uintp), codegen

    @intrinsic
    def rough_root(typing_context, a):  # type: ignore[no-untyped-def]
        """The largest power of two whose square is not above `a`, for positive normal doubles."""

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            kind = ir.VectorType(ir.IntType(64), signature.args[0].width)
            one, bias, exponent = (ir.Constant(kind, [number] * kind.count) for number in (1, 1023 << 51, 0x7FF << 52))
            halved = builder.add(builder.lshr(builder.bitcast(args[0], kind), one), bias)
            # 1023 is odd: the lowest bit of the exponent goes to the mantissa, and is cut off
            return builder.bitcast(builder.and_(halved, exponent), args[0].type)

        return a(a), codegen

    @intrinsic
    def any_below(typing_context, a, b):  # type: ignore[no-untyped-def]
        """Is a >= b wrong on any lane, NaN included?"""

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            below = builder.bitcast(builder.fcmp_unordered("<", *args), ir.IntType(signature.args[0].width))
            return builder.icmp_unsigned("!=", below, ir.Constant(below.type, 0))

        return types.boolean(a, a), codegen

    fma = _arithmetic("llvm.fma", 3)
    mul, add, sub, div = (_arithmetic(name, 2) for name in ("fmul", "fadd", "fsub", "fdiv"))
    neg, sqrt = _arithmetic("fneg", 1), _arithmetic("llvm.sqrt", 1)
    minimum, maximum = _arithmetic("llvm.minnum", 2), _arithmetic("llvm.maxnum", 2)
