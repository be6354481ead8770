"""Whether a model can be run, and how: in which precision, and with which attention."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, TypeVar
from weakref import WeakSet

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from vitcam.errors import ModelError, OneByOneError, VitcamError, is_out_of_memory
from vitcam.recording.binding import NO_INPUTS, Inputs, bound
from vitcam.recording.preservation import alone_with, attention_switches, preserved
from vitcam.recording.state import Memory, Remembered

Precision = Literal["fp32", "bf16", "fp16"]
_BATCH_NORMS = (torch.batch_norm, nn.functional.batch_norm)
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
Result = TypeVar("Result")
_working: Memory[Way] = Memory()
_put_in_order: WeakSet[nn.Module] = WeakSet()  # models that draw the order of their tokens, and are given it


class OtherTokensError(ModelError):
    """A model makes other tokens of the same image each time."""


def check_model(model: nn.Module) -> None:
    """Makes sure that a model's inside can be looked at and that gradients can go through it.

    Raises:
        ModelError: it is a ``torch.jit`` module or a graph of ``torch.export``, on the meta device, or was made in
            inference mode.
    """
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(
                "a module of torch.jit can't be explained: its attention can't be seen. Give the nn.Module that it "
                "was made from"
            )
        if _is_exported(module):
            raise ModelError(
                "a graph of torch.export can't be explained: it is made of operations below torch's functions, among "
                "which its attention can't be seen, for images of the shape it was exported with. Give the nn.Module "
                "that it was made from"
            )
    for name, tensor in chain(model.named_parameters(), model.named_buffers()) if _unusable(model) else ():
        if tensor.is_meta:
            raise ModelError(
                f"{name} of {type(model).__name__} is on the meta device; load its weights first"
            )
        if tensor.is_inference():
            raise ModelError(
                f"{type(model).__name__} was made inside torch.inference_mode(), so that no gradient can go through "
                f"it ({name} is an inference tensor). Make or load it outside"
            )


def check_tensor(tensor: Tensor, model: nn.Module) -> None:
    """Makes sure that a tensor inside a model is one tensor, and not many under ``vmap``.

    Raises:
        ModelError: the model runs its attention inside ``torch.func.vmap`` or another transform.
    """
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        raise ModelError(_transformed(model))


def explain_failure(
    model: nn.Module, images: Float[Tensor, "batch channels *space"], error: Exception
) -> Exception:
    """The error to raise in the place of what a model itself raised while it ran on images.

    Args:
        model: the model.
        images: what it ran on.
        error: what it raised. One of vitcam's own is kept, and one that says that memory has run out: no other
            images would help.

    Example:
        >>> print(explain_failure(model, images[:, :1], RuntimeError("expected 3 channels")))
        VisionTransformer itself failed on images of shape (1, 224, 224) ... expected 3 channels. Give it ...
    """
    if isinstance(error, VitcamError) or is_out_of_memory(error):
        return error
    text = str(error)
    if any(word in text for word in ("functorch", "vmap", "BatchedTensor")):
        return ModelError(_transformed(model))
    advice = "Give it images of the size and channels that it was built for"
    if "interpolate_pos_encoding" in inspect.signature(model.forward).parameters:
        advice += ", or inputs={'interpolate_pos_encoding': True}, with which it takes other sizes"
    if len(images) > 1:
        advice += "; if it takes one image at a time, pass batch_size=1"
    return ModelError(
        f"{type(model).__name__} itself failed on images of shape {tuple(images.shape[1:])} ({images.dtype}): "
        f"{text or type(error).__name__}. {advice}"
    )


def _unusable(model: nn.Module) -> bool:
    """Whether some tensor of the model has no values, or is of inference mode. Names would take longer."""
    return any(
        tensor is not None and (tensor.is_meta or tensor.is_inference())
        for module in model.modules()
        for tensor in (*module._parameters.values(), *module._buffers.values())
    )


def _is_exported(module: nn.Module) -> bool:
    """Whether a module is a graph of operations (aten's) instead of functions, as torch.fx traces them."""
    return isinstance(module, torch.fx.GraphModule) and any(
        isinstance(node.target, torch._ops.OpOverload) for node in module.graph.nodes
    )


def _transformed(model: nn.Module) -> str:
    return (
        f"{type(model).__name__} runs its attention inside torch.func.vmap (or another transform of functions), as "
        "ensembles do: several models' attentions are one call there, in which none can be told from the others. "
        "Explain each member on its own, or call them one after another in a loop"
    )


@contextlib.contextmanager
def running(
    model: nn.Module,
    device: torch.device,
    precision: Precision,
    *,
    fused: bool = True,
    compile: bool = False,
) -> Iterator[None]:
    """Inside the ``with`` a model runs as it is recorded: preserved, and in a precision.

    Raises:
        ModelError: there is no such precision.
    """
    with contextlib.ExitStack() as state:
        state.enter_context(preserved(model, fused=fused, compile=compile))
        state.enter_context(autocast(device, precision))
        if any(isinstance(module, _BatchNorm) for module in model.modules()):
            state.enter_context(_RightBatchNorms())
        if model in _put_in_order:
            state.enter_context(_OrderAsItIs())
        yield


def contiguous_gradient(result: Tensor) -> Tensor:
    """What a batch norm gave, whose gradient will be laid out as torch's kernel for CPUs expects it.

    For a batch of one, a gradient whose strides are those of channels last but for the batch's passes for contiguous,
    as its input does, and is read in the wrong order (seen in torch 2.14): wrong gradients without a word.

    Example:
        >>> norm = torch.nn.BatchNorm2d(2).eval()
        >>> contiguous_gradient(norm(torch.ones(1, 2, 3, 3))).shape
        torch.Size([1, 2, 3, 3])
    """
    if result.requires_grad:
        result.register_hook(Tensor.contiguous)
    return result


class _RightBatchNorms(TorchFunctionMode):
    """Sees to it that gradients go back through batch norms as they should."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        return contiguous_gradient(result) if function in _BATCH_NORMS else result


class _OrderAsItIs(TorchFunctionMode):
    """Answers draws of an order of equal things (ViLT's of its patches) by the order that they have."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if function in (torch.multinomial, Tensor.multinomial):
            (weights,) = args[:1] or [(kwargs or {})["input"]]
            of_all = torch.arange(weights.shape[-1], device=result.device).expand_as(weights)
            if result.shape == of_all.shape and bool((result.sort(dim=-1).values == of_all).all()):
                return of_all.clone() if bool((weights == weights[..., :1]).all()) else result
        return result


def autocast(device: torch.device, precision: Precision) -> Any:
    """The context in which a model runs in a precision, whatever the caller has switched on around it.

    Raises:
        ModelError: there is no such precision.
    """
    if precision == "fp32":
        return torch.autocast(device.type, enabled=False)
    if precision not in _DTYPES:
        raise ModelError(f"precision must be 'fp32', 'bf16' or 'fp16', not {precision!r}")
    return torch.autocast(device.type, dtype=_DTYPES[precision])


@dataclass(frozen=True)
class Way:
    """How a model is run.

    Attributes:
        dtype: in which it takes images.
        fused: whether its switches between fused and written-out attention are set to fused. Some models need
            their written-out attention maps.
    """

    dtype: torch.dtype
    fused: bool


def first_that_works(
    model: nn.Module,
    images: Float[Tensor, "batch channels *space"],
    run: Callable[[Way], Result],
    inputs: Inputs = NO_INPUTS,
) -> Result:
    """What ``run`` gives in the first way that works; the way is remembered with the model.

    Args:
        model: the model, as it is.
        images: as they were given.
        run: does the work. Whatever it raises, other ways are tried, if there are any.
        inputs: what the model is given besides the images.

    Raises:
        Whatever ``run`` raised in the first way, if it works in none.
    """
    with alone_with(model):
        return _first_that_works(model, images, run, inputs)


def _first_that_works(
    model: nn.Module, images: Tensor, run: Callable[[Way], Result], inputs: Inputs
) -> Result:
    remembered = _working.of(model, images, inputs)
    if remembered.value is not None:
        return run(remembered.value)
    try:
        return _first_of_ways(model, images, run, inputs, remembered)
    except OtherTokensError:
        if model in _put_in_order:
            raise
        _put_in_order.add(model)
        try:
            return _first_of_ways(model, images, run, inputs, remembered)
        except Exception:  # that of the model as it is stands
            _put_in_order.discard(model)
        raise


def _first_of_ways(
    model: nn.Module,
    images: Tensor,
    run: Callable[[Way], Result],
    inputs: Inputs,
    remembered: Remembered[Way],
) -> Result:
    first: Exception | None = None
    for way in _ways(model, images, inputs):
        try:
            result = run(way)
        except OneByOneError:
            raise
        except Exception as error:
            first = first or error
            continue
        remembered.keep(way)
        return result
    assert first is not None
    raise first


def _ways(model: nn.Module, images: Tensor, inputs: Inputs) -> Iterator[Way]:
    """In the precision of the images first, then in those of the model's weights, by how many weights have it."""
    sizes: dict[torch.dtype, int] = {}
    for parameter in model.parameters():
        if parameter.is_floating_point() and parameter.dtype.itemsize > 1:
            sizes[parameter.dtype] = sizes.get(parameter.dtype, 0) + parameter.numel()
    weights = sorted(sizes, key=lambda dtype: -sizes[dtype])
    for dtype in dict.fromkeys((images.dtype, *weights)):
        if not attention_switches(model):
            yield Way(dtype, True)
            continue
        of_one = inputs.of(0, 1) if dtype == images.dtype else inputs.of(0, 1).to_dtype(dtype)
        with bound(model, of_one):
            same = _same_when_fused(model, images[:1].to(dtype))
        if same:
            yield Way(dtype, True)
        yield Way(dtype, False)


def _same_when_fused(model: nn.Module, image: Float[Tensor, "1 channels *space"]) -> bool:
    """Whether the model gives the same with fused attention as with its own."""
    outputs = []
    for fused in (False, True):
        try:
            with preserved(model, fused=fused), torch.no_grad():
                output = model(image.clone())  # some write into it
        except Exception:  # the model's own; the way in which it fails isn't taken, or says so when it is
            return False
        outputs.append([leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)])
    own, other = outputs
    return len(own) == len(other) and all(
        a.shape == b.shape and bool(((a - b).abs() <= 1e-2 * a.abs().max().clamp_min(1e-6)).all())
        for a, b in zip(own, other, strict=True)
        if a.is_floating_point()
    )
