"""Samples of sounds, at the rate that a model was trained with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.lib.stride_tricks import sliding_window_view

from vitcam.errors import ImageError
from vitcam.inputs.files import Files, check_values, checked_path, in_words, reader

SOUNDS = frozenset({".aif", ".aiff", ".flac", ".mp3", ".ogg", ".opus", ".wav"})
"""What libsndfile reads."""

FILES = Files("sounds", SOUNDS)

MAX_RATE = 768_000
"""Samples per second: four times what studios use."""

ZEROS = 16
"""Zero crossings of the sinc on each side: errors of -60 dB."""

PASSED = 0.94
"""The part of the band that is passed; what is above it fades out up to the end of the band."""

Samples = Float[np.ndarray, " _samples"]


@dataclass(frozen=True, eq=False)
class Sound:
    """Samples of one channel.

    Attributes:
        samples: float32, as a rule from -1 to 1.
        rate: samples per second.
        seconds: how long the file is, of which these are the beginning.
        path: of the file.
    """

    samples: Samples
    rate: int
    seconds: float
    path: Path

    @property
    def size(self) -> tuple[int, int]:
        """(samples, channels)."""
        return len(self.samples), 1


def read_sound(source: Any, rate: int, seconds: float) -> Sound:
    """The beginning of a sound, of two channels their mean, at a rate.

    Args:
        source: the file's path.
        rate: samples per second that are wanted.
        seconds: how much is read, at most.

    Raises:
        ImageError: there is no such file, it is no sound, truncated, silent, of more than two channels, has samples
            that aren't finite, or soundfile isn't installed.
    """
    path = checked_path(source, *FILES)
    soundfile = reader("soundfile", "sound", "sounds")
    with in_words(path, "a sound"):
        about = soundfile.info(str(path), verbose=True)
        _check(path, about)
        wanted = min(about.frames, math.ceil(seconds * about.samplerate))
        samples, _ = soundfile.read(str(path), frames=wanted, dtype="float32", always_2d=True)
    if len(samples) < wanted:
        raise ImageError(
            f"{path} is truncated or damaged: {len(samples):,} of {wanted:,} samples can be read"
        )
    mono = samples.mean(axis=1, dtype=np.float32)
    if mono.size and not mono.any():
        raise ImageError(
            f"{path} is silent"
            + (
                f" in its first {seconds:.1f} s, which are what the model hears"
                if wanted < about.frames
                else ""
            )
        )
    check_values(mono, path, "samples")
    return Sound(resampled(mono, about.samplerate, rate), rate, about.frames / about.samplerate, path)


def resampled(samples: Samples, rate: int, wanted: int) -> Samples:
    """A sound at another rate, by band-limited interpolation.

    The sample at time t is Σ_k x[k] h(t - k), where h is a sinc under a Hann window, cut off below half of the lower
    rate (J. O. Smith, Digital Audio Resampling, https://ccrma.stanford.edu/~jos/resample). Cost: taps × samples,
    about 100 multiplications for a sample.

    Args:
        samples: at ``rate``.
        rate, wanted: samples per second.

    Example:
        >>> tone = np.sin(2 * np.pi * 440 * np.arange(44100) / 44100).astype(np.float32)
        >>> resampled(tone, 44100, 16000).shape
        (16000,)
    """
    if rate == wanted:
        return samples
    up, down = (each // math.gcd(rate, wanted) for each in (wanted, rate))
    band = PASSED * min(1.0, up / down)
    half = math.ceil(ZEROS / band)
    windows = sliding_window_view(np.pad(samples, half), 2 * half + 1)
    count = math.ceil(len(samples) * up / down)
    found = np.empty(count, dtype=np.float32)
    for phase in range(min(up, count)):  # samples of one phase lie equally between those that are known
        at = np.arange(phase, count, up) * down
        found[phase::up] = windows[at // up] @ _kernel(half, band, float(at[0] % up) / up)
    return found


def _kernel(half: int, band: float, after: float) -> Samples:
    """The weights of the samples around a time that is ``after`` the middle one."""
    times = np.arange(-half, half + 1) - after
    weights = np.sinc(band * times) * np.cos(np.pi * times / (2 * (half + 1))) ** 2
    normed: Samples = (weights / weights.sum()).astype(np.float32)
    return normed


def _check(path: Path, about: Any) -> None:
    if about.channels > 2:
        raise ImageError(f"{path} has {about.channels} channels; expected one or two. Mix it down to one")
    if about.frames <= 0:
        raise ImageError(f"{path} is empty: it has no samples")
    if not 0 < about.samplerate <= MAX_RATE:
        raise ImageError(
            f"{path} is said to have {about.samplerate:,} samples per second, at most {MAX_RATE:,} make sense"
        )
    if "(should be" in about.extra_info:  # how libsndfile says that a header and a file differ in length
        raise ImageError(f"{path} is truncated: it holds less, or other, than its header says")
