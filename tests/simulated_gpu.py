"""A GPU simulated on the CPU: it refuses tensors of the CPU, to be waited for, and what it is slow at.

Its tensors hold tensors of the CPU, which compute their values, so that what is trained on it can be compared
with what is trained on the CPU. An operation raises GpuError

- where tensors of both devices meet, but for copies and single numbers of the CPU;
- in a loop over `without_waits`, where a GPU would make the host wait: reading a value, copies to the CPU, or
  from the CPU without non_blocking, indexing by booleans or by one number of the device, nonzero, unique,
  multinomial and the like;
- in such a loop, where it computes more than one number in float64; elsewhere, where it multiplies or
  transforms in float64, which most GPUs do at a 32nd or 64th of the speed.

What only a GPU can show: streams, and whether work on them is in order; pinned memory, without which a copy
with non_blocking waits all the same; the kernels of CUDA and cuDNN, their rounding, what they don't support,
and waits inside them other than WAITS; the scale that torch.amp.GradScaler finds for a GPU's float16, though
its code runs here; TF32; torch.compile; DistributedDataParallel, PyTorch's SyncBatchNorm and NCCL; memory.

This stands on private parts of PyTorch, tried with 2.11 and 2.13; where they are gone, tests are skipped.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor

aten = torch.ops.aten
CPU = torch.device("cpu")
HALVES = (torch.float16, torch.bfloat16)
WAITS = {"multinomial", "is_nonzero", "_linalg_check_errors", "_linalg_eigh", "_linalg_svd"}  # without a tag
SLOW_IN_FLOAT64 = {"mm", "bmm", "addmm", "baddbmm", "convolution", "_fft_r2c", "_fft_c2r", "_fft_c2c"}
COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
INDEXING = {"index", "index_put", "index_put_"}
FACTORIES = ("arange", "arange.start", "arange.start_step", "eye", "eye.m", "linspace", "randperm")
# what autocast computes in half precision on CUDA, in float32, and in the wider of the inputs' types
HALF = (
    "_convolution conv1d conv2d conv3d addmm addmv matmul mm mv linear addbmm baddbmm bmm prelu "
    "gru.input lstm.input _thnn_fused_gru_cell _thnn_fused_lstm_cell scaled_dot_product_attention"
)
FLOAT32 = (
    "acos asin exp expm1 log log10 log1p log2 reciprocal rsqrt pow.Tensor_Scalar pow.Tensor_Tensor softplus "
    "layer_norm group_norm norm.ScalarOpt_dim cosine_similarity nll_loss cross_entropy_loss dist logsumexp "
    "prod softmax.int log_softmax.int cumprod cumsum sum sum.dim_IntList"
)
WIDEST = "addcdiv addcmul atan2 cat stack index_put scatter_add"


class GpuError(AssertionError):
    """A GPU would refuse it, make the host wait or be slow."""


class _Host:
    may_wait = True
    allows_float64 = False
    num_waits = 0


@cache
def device() -> torch.device:
    """The simulated GPU."""
    try:
        from torch.utils.backend_registration import (
            _DummyBackendModule,
            _DummyPrivateUse1Hook,
            _setup_privateuseone_for_python_backend,
        )
    except ImportError:
        pytest.skip(f"torch {torch.__version__} takes no devices that Python defines")

    class Module(_DummyBackendModule):  # torch.sim
        def is_available(self) -> bool:
            return False  # nothing chooses it by itself

        def get_amp_supported_dtype(self) -> list[torch.dtype]:
            return list(HALVES)

    class Hook(_DummyPrivateUse1Hook):
        def is_available(self) -> bool:
            return False

    _setup_privateuseone_for_python_backend("sim", backend_module=Module(), hook=Hook())
    kernels = {"empty.memory_format": _empty, "empty_strided": _empty_strided, "_copy_from": _copy_from}
    kernels |= {name: partial(_made, _operator(name)) for name in FACTORIES}
    for name, kernel in kernels.items():
        LIBRARY.impl(name, kernel, "PrivateUse1")
    for operator, kernel in CELLS.items():
        LIBRARY.impl(operator, kernel, "AutogradPrivateUse1")
    for names, dtype in ((HALF, _half), (FLOAT32, _float32), (WIDEST, _widest)):
        for name in names.split():
            LIBRARY.impl(name, partial(_cast, _operator(name), dtype), "AutocastPrivateUse1")
    FALLBACK.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    return torch.device("sim", 0)


LIBRARY, FALLBACK = torch.library.Library("aten", "IMPL"), torch.library.Library("_", "IMPL")  # kept alive


@contextmanager
def simulated() -> Iterator[torch.device]:
    """Context in which gradients can be computed on the simulated GPU."""
    gpu = device()
    # PyTorch has no thread for a device that came later
    with torch.autograd.set_multithreading_enabled(False):
        try:
            yield gpu
        finally:
            _Host.may_wait = True  # an error may have left a loop over without_waits


def without_waits(batches: Iterable[Any]) -> Iterator[Any]:
    """Batches -> the same, for a loop whose body must not wait for the simulated GPU."""
    for batch in batches:
        _Host.may_wait = False
        try:
            yield batch
        finally:
            _Host.may_wait = True


@contextmanager
def allowing_float64() -> Iterator[None]:
    """Context for products in float64 that are too small to matter, each vector by a square matrix."""
    _Host.allows_float64 = True
    try:
        yield
    finally:
        _Host.allows_float64 = False


def num_waits() -> int:
    """How often the host has waited so far."""
    return _Host.num_waits


class DeviceTensor(Tensor):
    """A tensor of the simulated GPU; `values` is that of the CPU which holds its values."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "DeviceTensor":
        """A tensor of the CPU -> the same on the simulated GPU."""
        with torch.inference_mode(False):  # else no view could be made of it
            made = Tensor._make_wrapper_subclass(
                cls,
                values.shape,
                strides=values.stride(),
                storage_offset=values.storage_offset(),
                dtype=values.dtype,
                device=device(),
            )
        made.values = values
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute an operation on at least one such tensor."""
        return _compute(func, args, kwargs or {})

    def tolist(self) -> Any:
        """The values, for which the host waits."""
        return self.cpu().tolist()

    def __repr__(self, **_: Any) -> str:
        return f"DeviceTensor({self.values})"


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if _is_composite(func):  # in inference mode these come whole
        return func._op_dk(COMPOSITE, *args, **kwargs)
    operands = list[Tensor]()
    on_cpu = _mapped((args, kwargs), lambda value: _on_cpu(value, operands))
    is_read = func is aten._to_copy.default and kwargs.get("device", device()).type == "cpu"
    _refuse_mixed(func, operands)
    _refuse_waiting(func, operands, args, is_read)
    result = CELLS.get(func, func)(*on_cpu[0], **on_cpu[1])
    _refuse_float64(func, result)
    if is_read:
        return result
    known = {id(operand.values): operand for operand in operands if isinstance(operand, DeviceTensor)}
    if torch.Tag.inplace_view in func.tags:
        with torch._C._DisableTorchDispatch():
            func(*args, **kwargs)  # gives the outer tensor the new shape too
    for values, outer in known.items():
        assert outer.shape == outer.values.shape, f"{func} changes the shape of {values}: not simulated"
    return _mapped(result, lambda value: _on_device(value, known))


def _mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """Lists, tuples and dictionaries, nested -> the same of what the function returns."""
    if isinstance(value, list | tuple):
        return type(value)([_mapped(each, function) for each in value])
    if isinstance(value, dict):
        return {name: _mapped(each, function) for name, each in value.items()}
    return function(value)


def _on_cpu(value: Any, operands: list[Tensor]) -> Any:
    """What an operation gets, for the CPU; tensors are added to the operands."""
    if isinstance(value, Tensor):
        operands.append(value)
        return value.values if isinstance(value, DeviceTensor) else value
    return CPU if isinstance(value, torch.device) else value


def _on_device(value: Any, known: dict[int, Tensor]) -> Any:
    """What an operation on the CPU returns -> the same on the simulated GPU; an operand if it is one."""
    if not isinstance(value, Tensor):
        return value
    return known[id(value)] if id(value) in known else DeviceTensor(value)


def _refuse_mixed(func: Any, operands: list[Tensor]) -> None:
    if func is aten.copy_.default:
        return
    for operand in operands:
        if operand.ndim and not isinstance(operand, DeviceTensor):
            raise GpuError(f"{func}: a tensor of the CPU, {tuple(operand.shape)}, beside those of the GPU")


def _refuse_waiting(func: Any, operands: list[Tensor], args: Any, is_read: bool) -> None:
    if func is aten.copy_.default:
        target, source = (isinstance(operand, DeviceTensor) for operand in operands)
        waits = not target or not (source or (len(args) > 2 and args[2]))
    elif func.overloadpacket.__name__ in INDEXING:
        waits = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    else:
        waits = is_read or _waits(func)
    if waits and not _Host.may_wait:
        raise GpuError(f"{func}: the host waits for the GPU")
    _Host.num_waits += waits


@cache
def _is_composite(func: Any) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), COMPOSITE)


@cache
def _waits(func: Any) -> bool:
    tags = {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output}
    return bool(tags.intersection(func.tags)) or func.overloadpacket.__name__ in WAITS


def _refuse_float64(func: Any, result: Any) -> None:
    is_slow = func.overloadpacket.__name__ in SLOW_IN_FLOAT64 and not _Host.allows_float64
    if _Host.may_wait and not is_slow:
        return
    for tensor in result if isinstance(result, list | tuple) else [result]:
        is_double = isinstance(tensor, Tensor) and tensor.dtype in (torch.float64, torch.complex128)
        if is_double and tensor.numel() > 1:
            raise GpuError(f"{func}: {tensor.numel()} numbers in {tensor.dtype}")


def _empty_strided(size: Any, stride: Any, dtype: Any = None, **_: Any) -> Tensor:
    return DeviceTensor(torch.empty_strided(size, stride, dtype=dtype))


def _empty(size: Any, dtype: Any = None, memory_format: Any = None, **_: Any) -> Tensor:
    layout = memory_format or torch.contiguous_format
    return DeviceTensor(torch.empty(size, dtype=dtype, memory_format=layout))


def _made(func: Any, *args: Any, device: Any = None, pin_memory: Any = None, **kwargs: Any) -> Tensor:
    return DeviceTensor(func(*args, **kwargs))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    return _compute(aten.copy_.default, (target, source, non_blocking), {})


def _lstm_cell(inputs: Tensor, hidden: Tensor, cell: Tensor, *biases: Tensor | None) -> tuple[Tensor, ...]:
    """What aten::_thnn_fused_lstm_cell returns, which CPUs lack."""
    gates = sum((bias for bias in biases if bias is not None), inputs + hidden)
    enter, keep, candidate, leave = gates.chunk(4, dim=1)
    cell = keep.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
    return leave.sigmoid() * cell.tanh(), cell, gates


def _gru_cell(
    inputs: Tensor,
    hidden: Tensor,
    state: Tensor,
    input_bias: Tensor | None = None,
    hidden_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What aten::_thnn_fused_gru_cell returns, which CPUs lack."""
    inputs = inputs if input_bias is None else inputs + input_bias
    hidden = hidden if hidden_bias is None else hidden + hidden_bias
    (reset, update, new), (of_reset, of_update, of_new) = inputs.chunk(3, dim=1), hidden.chunk(3, dim=1)
    update = (update + of_update).sigmoid()
    new = (new + (reset + of_reset).sigmoid() * of_new).tanh()
    return new + update * (state - new), inputs


CELLS = {aten._thnn_fused_lstm_cell.default: _lstm_cell, aten._thnn_fused_gru_cell.default: _gru_cell}


def _operator(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(aten, packet), overload or "default")


def _half(tensors: list[Tensor]) -> torch.dtype:
    return torch.get_autocast_dtype("sim")


def _float32(tensors: list[Tensor]) -> torch.dtype:
    return torch.float32


def _widest(tensors: list[Tensor]) -> torch.dtype:
    return torch.float32 if torch.float32 in {tensor.dtype for tensor in tensors} else _half(tensors)


def _cast(func: Any, choose: Callable[[list[Tensor]], torch.dtype], *args: Any, **kwargs: Any) -> Any:
    """An operation under autocast: with its floating-point operands in the chosen type."""
    operands = list[Tensor]()
    _mapped((args, kwargs), lambda value: _on_cpu(value, operands))
    floating = {id(operand) for operand in operands if operand.dtype in (torch.float32, *HALVES)}
    dtype = choose([operand for operand in operands if id(operand) in floating])
    key = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)
    with torch._C._ExcludeDispatchKeyGuard(key):
        args, kwargs = _mapped(
            (args, kwargs), lambda value: value.to(dtype) if id(value) in floating else value
        )
        return func(*args, **kwargs)
