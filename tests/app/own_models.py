"""Models of one's own, one for each kind of input, and a file for each."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

import input_models
import vitcam
from input_files import RATE, frames, tone, write_scan, write_sound

MODELS = {
    "video": input_models.clip,
    "sound": input_models.sound,
    "volume": input_models.volume,
    "picture": input_models.bands,
}


@lru_cache
def own_model(kind):
    return replace(MODELS[kind](), class_names=("left <b>", "right"), spec=f"own_models:{kind}")


def video():
    """What the server loads."""
    return own_model("video")


def load(spec):
    """Those of this module, each once; any other as always."""
    module, _, kind = spec.partition(":")
    return own_model(kind) if module == "own_models" else vitcam.load_model(spec)


def write(kind, folder, stem="a"):
    """A file of a kind."""
    random = np.random.default_rng(0)
    if kind == "video":
        path, pictures = Path(folder, f"{stem}.gif"), frames(12)
        pictures[0].save(path, save_all=True, append_images=pictures[1:])
        return path
    if kind == "sound":
        noise = random.normal(0, 0.01, (round(0.9 * RATE), 1))
        return write_sound(Path(folder, f"{stem}.wav"), tone(0.9) + noise)
    if kind == "volume":
        values = random.normal(0, 100, (18, 20, 22)).astype(np.float32)
        return write_scan(Path(folder, f"{stem}.nii.gz"), values)
    np.save(Path(folder, f"{stem}.npy"), random.normal(100, 30, (5, 40, 48)))
    return Path(folder, f"{stem}.npy")
