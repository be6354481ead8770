"""Files of every kind of input, made in the tests."""

import numpy as np
import pytest
from PIL import Image

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
RATE = 16000


def frames(count=12, size=(48, 32), seed=0):
    """A bright square that goes to the right, on noise."""
    values = np.random.default_rng(seed).integers(0, 90, (count, size[1], size[0], 3), dtype=np.uint8)
    for n, frame in enumerate(values):
        frame[8:16, 2 * n : 2 * n + 8] = (250, 200, 30)
    return [Image.fromarray(frame) for frame in values]


def write_video(path, pictures, rotation=0, codec="mpeg4", rate=10):
    av = pytest.importorskip("av", reason="PyAV isn't installed: pip install 'vitcam[video]'")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *pictures[0].size, "yuv420p"
        stream.bit_rate = 4_000_000
        if rotation:
            if not hasattr(stream, "set_display_rotation"):
                pytest.skip("this PyAV reads how a camera was held, and can't write it")
            stream.set_display_rotation(rotation)
        for picture in pictures:
            for packet in stream.encode(av.VideoFrame.from_image(picture)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def tone(seconds, hertz=1000.0, rate=RATE, channels=1):
    wave = 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def write_sound(path, samples, rate=RATE):
    soundfile = pytest.importorskip(
        "soundfile", reason="soundfile isn't installed: pip install 'vitcam[sound]'"
    )
    soundfile.write(str(path), samples, rate)
    return path


def write_scan(path, values, affine=None):
    nibabel = pytest.importorskip("nibabel", reason="nibabel isn't installed: pip install 'vitcam[volume]'")
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return path
