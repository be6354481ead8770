"""The errors that vitcam raises on purpose. Each message says what was expected, what came, what to do."""

from __future__ import annotations


class VitcamError(Exception):
    """The parent of every error that vitcam raises on purpose.

    Example:
        >>> try:
        ...     vitcam.explain(photo_model, photo, method="agcamm")
        ... except vitcam.VitcamError as error:
        ...     print(error)
        there is no method 'agcamm'...
    """


class VitcamWarning(UserWarning):
    """Something that is right and may still mislead; the command line prints it as a note.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", vitcam.VitcamWarning)
        ...     e = vitcam.explain(photo_model, photo, method="rise(budget=2)")
    """


class ImageError(VitcamError, ValueError):
    """An image can't be read, or an image tensor has the wrong shape, type or values.

    Example:
        >>> vitcam.explain(model, images[0])
        Traceback (most recent call last):
        vitcam.errors.ImageError: ...
    """


class ModelError(VitcamError):
    """A model can't be loaded, or can't be explained.

    Example:
        >>> vitcam.explain(torch.nn.Flatten(), images)
        Traceback (most recent call last):
        vitcam.errors.ModelError: no attention was seen: ...
    """


class OneByOneError(ModelError):
    """A model takes images one by one, and got several. ``explain`` and ``compare`` give it one after the other.

    Example:
        >>> issubclass(OneByOneError, ModelError)
        True
    """


class TargetError(VitcamError, ValueError):
    """A target class doesn't exist, or targets don't fit the batch.

    Example:
        >>> vitcam.explain(photo_model, photo, targets="cta")
        Traceback (most recent call last):
        vitcam.errors.TargetError: ...
    """


class NoSuchImageError(VitcamError, IndexError):
    """An explanation has no image of this number.

    Example:
        >>> vitcam.explain(photo_model, photo)[1]
        Traceback (most recent call last):
        vitcam.errors.NoSuchImageError: there is no image 1: this explanation has 1, counted from 0
    """


class StoredError(VitcamError):
    """A folder isn't one that an explanation was saved in, or its files are missing, damaged or not its own.

    Example:
        >>> vitcam.load("things")
        Traceback (most recent call last):
        vitcam.errors.StoredError: there is no explanation in things: ...
    """


class MethodError(VitcamError, ValueError):
    """A method doesn't exist, has no such option, or isn't defined for this model.

    Example:
        >>> vitcam.explain(model, images, method="agcam", layer=5)
        Traceback (most recent call last):
        vitcam.errors.MethodError: ...
    """


class MapError(MethodError):
    """A method's map isn't finite.

    Example:
        >>> issubclass(MapError, MethodError)
        True
    """


class DatasetError(VitcamError):
    """A dataset isn't where it was said to be, lacks files, or has files that can't be read.

    Example:
        >>> vitcam.evaluation.open_dataset("voc:nowhere")
        Traceback (most recent call last):
        vitcam.errors.DatasetError: there is no voc dataset at nowhere: ...
    """


class RunError(VitcamError):
    """A run of an evaluation can't begin, go on, be stored, or be read.

    Example:
        >>> vitcam.evaluation.evaluate("all", "folder:things", photo_model, ["agcam"], "s3://bucket/run")
        Traceback (most recent call last):
        vitcam.errors.RunError: s3://bucket/run is an address, ...
    """


class MetricError(VitcamError, ValueError):
    """Heatmaps, truths or settings that a metric isn't defined for.

    Example:
        >>> vitcam.evaluation.localization_scores(torch.rand(14, 14), boxes=[])
        Traceback (most recent call last):
        vitcam.errors.MetricError: there is no true box to compare with: leave out images without boxes
    """


class ReportError(VitcamError):
    """A run can't be reported: it can't be read, or has nothing of what was asked for.

    Example:
        >>> from vitcam.report import read_runs
        >>> read_runs(["things"])
        Traceback (most recent call last):
        vitcam.errors.ReportError: things is not a run: ...
    """


class ExportError(VitcamError):
    """A model can't be exported, or the exported one doesn't answer as PyTorch does.

    Example:
        >>> issubclass(ExportError, VitcamError)
        True
    """


class BenchError(VitcamError, ValueError):
    """A benchmark can't be run as it was asked for.

    Example:
        >>> from vitcam.bench import Settings
        >>> Settings(repeats=0)
        Traceback (most recent call last):
        vitcam.errors.BenchError: repeats must be 1 or more ...
    """


_NO_MEMORY = ("can't allocate memory", "out of memory", "not enough memory", "failed to allocate")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of whatever library says that memory, of the machine or of a GPU, was too little.

    Example:
        >>> is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
        True
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without torch
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)
