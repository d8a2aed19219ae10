"""Short vectors of doubles as numba values, so that sums over lanes stay in registers.

numba accumulates ``y[r, lane] += …`` through memory, because it cannot prove that `y` does not alias
the input; a first-class vector value lets LLVM keep the row's sum in registers (38 against 10 GF/s
for a banded complex operator on 16 lanes).  Two widths: 16 for lanes of state vectors and for runs
of columns, 4 for lanes of density matrices; arithmetic takes either.

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


class Vector(types.Type):
    """numba type of a vector of `width` doubles."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(name=f"Vector{width}")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Vector) -> None:
        super().__init__(manager, fe_type, ir.VectorType(ir.DoubleType(), fe_type.width))


def _pointer(context: Any, builder: Any, signature: Any, args: Any, vector: Vector) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    kind = ir.VectorType(ir.DoubleType(), vector.width).as_pointer()
    return builder.bitcast(builder.gep(array.data, [args[1]]), kind)


def _load(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.load(_pointer(context, builder, signature, args, signature.return_type), align=8)


def _splat(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    width = signature.return_type.width
    undefined = ir.Constant(ir.VectorType(ir.DoubleType(), width), ir.Undefined)
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
        width = signature.return_type.width
        kind = ir.VectorType(ir.DoubleType(), width)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind] * arity), f"{name}.v{width}f64"
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

    load16, load4 = _numpy_load(16), _numpy_load(4)

    def splat16(value: float) -> Any:
        return np.full(16, value)

    def splat4(value: float) -> Any:
        return np.full(4, value)

    def load_as(array: np.ndarray, index: int, like: np.ndarray) -> Any:
        return array.reshape(-1)[index : index + like.size].copy()

    def splat_as(value: float, like: np.ndarray) -> Any:
        return np.full(like.size, value)

    def store(array: np.ndarray, index: int, value: np.ndarray) -> None:
        array.reshape(-1)[index : index + value.size] = value

    def fma(a: Any, b: Any, c: Any) -> Any:
        return a * b + c

    mul, add, sub, div = np.multiply, np.add, np.subtract, np.divide
    neg, sqrt, minimum, maximum = np.negative, np.sqrt, np.minimum, np.maximum
else:
    load16, splat16 = _memory(16)
    load4, splat4 = _memory(4)

    @intrinsic
    def load_as(typing_context, array, index, like):  # type: ignore[no-untyped-def]
        """array[index : index + width] with the width of `like`."""
        return like(array, types.uintp, like), _load

    @intrinsic
    def splat_as(typing_context, value, like):  # type: ignore[no-untyped-def]
        """`value` in every lane, with the width of `like`."""
        return like(types.float64, like), _splat

    @intrinsic
    def store(typing_context, array, index, value):  # type: ignore[no-untyped-def]
        """array[index : index + width] = value."""

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            builder.store(args[2], _pointer(context, builder, signature, args, signature.args[2]), align=8)
            return context.get_dummy_value()

        return types.void(array, types.uintp, value), codegen

    fma = _arithmetic("llvm.fma", 3)
    mul, add, sub, div = (_arithmetic(name, 2) for name in ("fmul", "fadd", "fsub", "fdiv"))
    neg, sqrt = _arithmetic("fneg", 1), _arithmetic("llvm.sqrt", 1)
    minimum, maximum = _arithmetic("llvm.minnum", 2), _arithmetic("llvm.maxnum", 2)
