"""From a model's specification to a model that is ready to be used."""

from __future__ import annotations

from dataclasses import replace

from vitcam.errors import ModelError, VitcamError
from vitcam.models.loaded import LoadedModel
from vitcam.models.sources import SOURCES, ModelSource
from vitcam.models.spec import Spec, parse_spec, split_head


def load_model(
    spec: str, *, pretrained: bool = True, num_classes: int | None = None, device: str | None = None
) -> LoadedModel:
    """Loads a model with its preprocessing and class names, in evaluation mode and fp32.

    Args:
        spec: ``embedded:photo`` (comes with vitcam), ``timm:NAME``, ``timm:NAME@FILE``,
            ``torchvision:NAME``, ``torchvision:NAME/WEIGHTS``, ``torchvision:NAME@FILE``, ``hf:ID``,
            ``hf:/FOLDER``, ``open_clip:ARCH/TAG``, ``open_clip:ARCH@FILE``, ``open_clip:hf-hub:ID``,
            ``open_clip:local-dir:FOLDER``, or ``module:object`` and
            ``module:object:NAME`` for a function of yours that returns a model (a module that :func:`vitcam.wrap`
            understands, or a LoadedModel); any of them followed by ``+HEAD.safetensors``, a head that
            ``vitcam train-head`` trained on it.
        pretrained: False gives the same model with random weights; nothing is downloaded (for ``hf:ID``
            only its configuration).
        num_classes: size of the head, with ``pretrained=False``, for a classifier of timm, torchvision or
            Hugging Face; otherwise the weights decide.
        device: for example ``"cuda"``, or ``"auto"`` for the best there is; None means the CPU.

    Raises:
        ModelError: there is no such model, its library isn't installed, its weights can't be fetched, read
            or fitted. The message says what to do.

    Example:
        >>> load_model("embedded:photo").class_names[:3]
        ('dog', 'cat', 'big cat')
    """
    own_spec, head = split_head(spec)
    parsed = parse_spec(own_spec)
    source = SOURCES[parsed.scheme]
    if not source.installed:
        raise ModelError(f"Can't load {spec}: {source.library} isn't installed. Install it: {source.remedy}.")
    if num_classes is not None and (pretrained or not source.resizable):
        raise ModelError(
            f"Can't load {spec} with num_classes={num_classes}: a head of another size would be random. "
            f"Leave num_classes out, or, for a classifier with random weights, pass pretrained=False."
        )
    where = None
    if device is not None:
        from vitcam.models.device import find_device

        where = find_device(device)
    if source.scheme in SOURCES.ours:
        model: LoadedModel = source.load(parsed, pretrained=pretrained, num_classes=num_classes)
    else:
        model = _of_others(source, parsed, pretrained, num_classes)
    if head is not None:
        from vitcam.models.head import read_head, with_head

        model = with_head(model, read_head(head), spec)
    model.module.eval()
    return model if where is None else replace(model, module=model.module.to(where))


def _of_others(source: ModelSource, spec: Spec, pretrained: bool, num_classes: int | None) -> LoadedModel:
    """What a source that isn't vitcam's gives, as vitcam uses it."""
    from torch import nn

    from vitcam.models.wrapping import wrap

    try:
        model = source.load(spec, pretrained=pretrained, num_classes=num_classes)
    except (VitcamError, OSError, MemoryError):
        raise
    except Exception as error:  # whatever a function of somebody's raises
        raise ModelError(f"Can't load {spec}: {type(error).__name__}: {error}") from error
    if isinstance(model, LoadedModel):
        return replace(model, spec=str(spec))
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"Can't load {spec}: it gives a {type(model).__name__}; expected a torch.nn.Module or a LoadedModel"
        )
    try:
        return wrap(model, name=str(spec))
    except ModelError as error:
        raise ModelError(f"Can't load {spec}: {error}. Let it return vitcam.wrap(module, …)") from error
