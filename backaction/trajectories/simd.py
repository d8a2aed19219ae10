"""Short vectors of doubles as numba values, so that sums over lanes stay in registers.

numba accumulates ``y[r, lane] += …`` through memory, because it cannot prove that `y` does not alias
the input; a first-class vector value lets LLVM keep the row's sum in registers (38 against 10 GF/s
for a banded complex operator on 16 lanes).  Two widths: `16` for lanes of state vectors and for runs
of columns, `4` for lanes of density matrices.

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


def _operations(width: int) -> tuple:
    """(load, store, splat, fma) for one width."""
    vector = Vector(width)
    ir_vector = ir.VectorType(ir.DoubleType(), width)

    def pointer(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.bitcast(builder.gep(array.data, [args[1]]), ir_vector.as_pointer())

    @intrinsic
    def load(typing_context, array, index):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            return builder.load(pointer(context, builder, signature, args), align=8)

        return vector(array, types.uintp), codegen

    @intrinsic
    def store(typing_context, array, index, value):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            builder.store(args[2], pointer(context, builder, signature, args), align=8)
            return context.get_dummy_value()

        return types.void(array, types.uintp, vector), codegen

    @intrinsic
    def splat(typing_context, value):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            undefined = ir.Constant(ir_vector, ir.Undefined)
            one = builder.insert_element(undefined, args[0], ir.Constant(ir.IntType(32), 0))
            mask = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
            return builder.shuffle_vector(one, undefined, mask)

        return vector(types.float64), codegen

    @intrinsic
    def fma(typing_context, a, b, c):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            kind = ir.FunctionType(ir_vector, [ir_vector] * 3)
            function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{width}f64")
            return builder.call(function, args)

        return vector(vector, vector, vector), codegen

    return load, store, splat, fma


def _numpy_operations(width: int) -> tuple:
    def load(array: np.ndarray, index: int) -> np.ndarray:
        return array.reshape(-1)[index : index + width].copy()

    def store(array: np.ndarray, index: int, value: np.ndarray) -> None:
        array.reshape(-1)[index : index + width] = value

    def splat(value: float) -> np.ndarray:
        return np.full(width, value)

    def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        return a * b + c

    return load, store, splat, fma


_make = _numpy_operations if numba.config.DISABLE_JIT else _operations
load16, store16, splat16, fma16 = _make(16)
load4, store4, splat4, fma4 = _make(4)
