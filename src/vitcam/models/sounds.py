"""From a sound to a model's input: by its feature extractor, of which is measured what its output means."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vitcam.errors import ImageError, ModelError, VitcamWarning
from vitcam.inputs import SOUND, InputKind
from vitcam.inputs.files import Files
from vitcam.inputs.limits import ReadingLimits
from vitcam.inputs.read_sound import FILES, Samples, Sound, read_sound
from vitcam.inputs.sound import TICKS, spectrogram
from vitcam.types import Box

Features = Callable[[Samples], Float[Tensor, "time bands"]]

TONES = 48
"""Frequencies that are played to a feature extractor."""

LOWEST = 40.0
"""Hertz, of the lowest of them."""


@dataclass(frozen=True)
class SoundPreprocessing:
    """How one model wants its sounds, declared; called on a sound, it prepares it.

    It is made of a feature extractor of Hugging Face, which is given to :class:`vitcam.LoadedModel` as its
    preprocessing, or lies beside a model that is loaded.

    Attributes:
        features: from samples at ``rate`` to a spectrogram of always the same size.
        rate: samples per second.
        shape: (times, bands) of the spectrogram, the model's input for one sound.
        hop: seconds from one time to the next.
        hertz: the frequencies of the lowest band, of three between, and of the highest, for the axis.
        name: of what gives the features.

    Example:
        >>> import transformers
        >>> network = transformers.ASTForAudioClassification(transformers.ASTConfig(num_hidden_layers=1))
        >>> prepare = vitcam.LoadedModel(network, transformers.ASTFeatureExtractor()).preprocessing
        >>> type(prepare).__name__, prepare.rate, prepare.shape, round(prepare.seconds, 2)
        ('SoundPreprocessing', 16000, (1024, 128), 10.24)
    """

    features: Features = field(repr=False)
    rate: int
    shape: tuple[int, int]
    hop: float
    hertz: tuple[float, ...]
    name: str = "features"

    kind: ClassVar[InputKind] = SOUND
    files: ClassVar[Files] = FILES
    order: ClassVar[tuple[int, ...]] = (0, 3, 2)

    @property
    def size(self) -> tuple[int, int]:
        """(bands, times) that the model gets."""
        return self.shape[1], self.shape[0]

    @property
    def seconds(self) -> float:
        """How long a sound the model hears."""
        return self.shape[0] * self.hop

    def read(self, source: Any, limits: ReadingLimits | None = None) -> Sound:
        """The sound of a file: see :func:`vitcam.inputs.read_sound.read_sound`.

        Of any file no more is read than the model hears, so that no limit is needed.
        """
        # A little more than is seen, which the last windows reach into.
        return read_sound(source, self.rate, self.seconds + 10 * self.hop)

    def __call__(self, sound: Sound) -> Float[Tensor, "time bands"]:
        """The model's input for one sound; warns of what it doesn't hear.

        Raises:
            ImageError: the sound is so short that it has no features.
        """
        if sound.seconds > self.seconds + self.hop:
            warnings.warn(
                f"{sound.path} lasts {sound.seconds:.1f} s; the model hears the first {self.seconds:.1f} s of it",
                VitcamWarning,
                stacklevel=2,
            )
        return self._spectrogram(sound)

    def _spectrogram(self, sound: Sound) -> Float[Tensor, "time bands"]:
        try:
            return self.features(sound.samples)
        except ValueError as error:  # of the extractor, whose window is longer than the sound
            raise ImageError(
                f"{sound.path} lasts {sound.seconds:.3f} s, of which {self.name} makes no spectrogram: {error}"
            ) from error

    def seen(self, sound: Sound) -> Image.Image:
        """What the model gets of a sound: its spectrogram, with axes in seconds and hertz."""
        return spectrogram(
            self._spectrogram(sound).T.numpy(),
            [f"{self.seconds * n / TICKS:.3g}" for n in range(TICKS + 1)],
            [_hertz(each) for each in self.hertz],
            "seconds",
            "Hz",
        )

    def region(self, size: tuple[int, int]) -> Box:
        """All of it."""
        return Box(0, 0, *size)


def sound_preprocessing(extractor: Any) -> SoundPreprocessing:
    """What a feature extractor of Hugging Face does, with the times and frequencies of what it gives.

    They are measured: tones of known frequencies are played to it, and two clicks. The band that answers loudest to a
    tone is of its frequency, and the frames that answer to the clicks are as far apart as these.

    Args:
        extractor: from mono samples to ``input_values`` (batch, time, bands).

    Raises:
        ModelError: what it gives is no spectrogram, or not always of the same size.

    Example:
        >>> import transformers
        >>> prepare = sound_preprocessing(transformers.ASTFeatureExtractor(num_mel_bins=64, max_length=200))
        >>> prepare.shape, round(prepare.hop, 4), round(prepare.seconds, 3)
        ((200, 64), 0.01, 2.0)
    """
    name = type(extractor).__name__
    rate = getattr(extractor, "sampling_rate", None)
    if not isinstance(rate, int) or rate < 1:
        raise ModelError(f"{name} doesn't say at which rate it takes its samples (sampling_rate)")

    def features(samples: Samples) -> Float[Tensor, "time bands"]:
        given = extractor(samples, sampling_rate=rate, return_tensors="pt")
        values = given.get("input_values")
        if not isinstance(values, Tensor) or values.dim() != 3:
            shape = tuple(values.shape) if isinstance(values, Tensor) else sorted(given)
            raise ModelError(
                f"{name} gives no spectrogram (input_values of batch, time and bands), which is what can be "
                f"explained of a sound; it gives {shape}"
            )
        return values[0].float()

    seconds = np.arange(rate) / rate
    one, two = (tuple(features(np.resize(_tone(440, seconds), count)).shape) for count in (rate, 2 * rate))
    if one != two:
        raise ModelError(
            f"{name} gives spectrograms as long as the sounds are ({one[0]} times for one second, {two[0]} for two). "
            "Set its max_length to what the model was trained with"
        )
    silence = features(np.zeros(rate, dtype=np.float32))  # what pads a short sound may be louder than it
    pitches = np.geomspace(LOWEST, 0.48 * rate, TONES)
    loudest = [int((features(_tone(pitch, seconds)) - silence).sum(dim=0).argmax()) for pitch in pitches]
    heights = np.linspace(0, one[1] - 1, TICKS + 1)
    hertz = np.interp(heights, np.maximum.accumulate(loudest), pitches)
    hop = _hop(features, silence, rate, name)
    return SoundPreprocessing(features, rate, (one[0], one[1]), hop, tuple(map(float, hertz)), name)


def _tone(hertz: float, seconds: Samples) -> Samples:
    return np.sin(2 * np.pi * hertz * seconds).astype(np.float32)


def _hop(features: Features, silence: Float[Tensor, "time bands"], rate: int, name: str) -> float:
    """Seconds from one time of a spectrogram to the next."""
    clicks, frames = (round(0.05 * rate), round(0.15 * rate)), []
    for click in clicks:
        samples = np.zeros(rate, dtype=np.float32)
        samples[click] = 1.0
        loud = (features(samples) - silence).clamp(min=0).sum(dim=1)
        frames.append(float((loud * torch.arange(len(loud))).sum() / loud.sum()))
    if not frames[1] > frames[0] + 1:
        raise ModelError(
            f"{name} gives spectrograms in which a click after 0.15 s isn't later than one after 0.05 s"
        )
    return (clicks[1] - clicks[0]) / rate / (frames[1] - frames[0])


def _hertz(value: float) -> str:
    return f"{value / 1000:.2g}k" if value >= 1000 else str(round(float(f"{value:.2g}")))
