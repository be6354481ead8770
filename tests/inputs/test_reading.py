"""Files of clips, sounds, volumes and bands: what is read is what was written, and what can't be is an error."""

import lzma
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from input_files import RATE, frames, tone, write_scan, write_sound, write_video
from vitcam.errors import ImageError
from vitcam.inputs.limits import ReadingLimits
from vitcam.inputs.read_bands import read_bands
from vitcam.inputs.read_sound import read_sound, resampled
from vitcam.inputs.read_video import read_clip
from vitcam.inputs.read_volume import read_scan
from vitcam.models import BandPreprocessing, ClipPreprocessing, Preprocessing, VolumePreprocessing


def everything(total):
    return range(total)


def brightest(picture):
    """(row, column) of the middle of the bright square."""
    red = np.asarray(picture, dtype=float)[..., 0]
    return tuple(axis.mean() for axis in np.nonzero(red > 170))


# Videos


def test_the_frames_of_a_video_are_those_that_were_written_in_their_order(tmp_path):
    pictures = frames()
    clip = read_clip(write_video(tmp_path / "clip.mp4", pictures), everything)
    assert (clip.total, clip.size, list(clip.numbers)) == (12, (48, 32), list(range(12)))
    for n, (read, written) in enumerate(zip(clip.frames, pictures, strict=True)):
        assert brightest(read) == pytest.approx((11.5, 2 * n + 3.5), abs=1)
        assert np.abs(np.asarray(read, float) - np.asarray(written, float)).mean() < 25
    some = read_clip(tmp_path / "clip.mp4", lambda total: [total - 1, 3, 3])
    assert [brightest(each) for each in some.frames] == [brightest(clip.frames[n]) for n in (11, 3, 3)]


@pytest.mark.parametrize("name", ["clip.gif", "clip.webp", "clip.apng"])
def test_animations_are_clips(tmp_path, name):
    pictures = frames(5)
    options = {"lossless": True} if name.endswith("webp") else {"format": "PNG"} if "png" in name else {}
    pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], **options)
    clip = read_clip(tmp_path / name, lambda total: [0, total - 1])
    assert clip.total == 5
    for read, n in zip(clip.frames, (0, 4), strict=True):
        assert brightest(read) == pytest.approx((11.5, 2 * n + 3.5), abs=1)


def test_a_video_of_a_camera_that_was_turned_is_upright(tmp_path):
    upright = frames(4)
    turned = [picture.rotate(90, expand=True) for picture in upright]  # as the camera stores them
    clip = read_clip(write_video(tmp_path / "clip.mp4", turned, rotation=-90), everything)
    assert clip.size == upright[0].size
    for read, picture in zip(clip.frames, upright, strict=True):
        assert brightest(read) == pytest.approx(brightest(picture), abs=1)


def still(path):
    frames(1)[0].save(path)


def half(path, share=0.5):
    whole = path.with_name(f"whole{path.suffix}")
    if path.suffix in (".mp4", ".avi", ".mkv"):
        write_video(whole, frames(60, (96, 64)))
    elif path.suffix in (".wav", ".flac"):
        write_sound(whole, tone(1))
    elif path.suffix == ".nii":
        write_scan(whole, np.random.default_rng(0).random((8, 9, 10)).astype(np.float32))
    else:
        np.save(whole, np.random.default_rng(0).random((13, 8, 9)))
    content = whole.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def sound_alone(path):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE)
        frame = av.AudioFrame.from_ndarray(tone(1).T.copy(), format="fltp", layout="mono")
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("none.mp4", lambda path: None, "there is no such file"),
        ("folder.mp4", lambda path: path.mkdir(), "is a folder; expected the file of videos"),
        ("empty.mp4", lambda path: path.touch(), r"is empty \(0 bytes\)"),
        ("text.mp4", lambda path: path.write_text("no video" * 99), "can't be read as a video"),
        ("photo.png", still, r"this model takes videos, whose files end in \.apng, \.avi"),
        ("still.gif", still, "has 1 frame; expected a video of several"),
        ("half.mp4", half, "truncated|damaged"),
        ("half.avi", half, "truncated|damaged"),
        ("half.mkv", half, "truncated|damaged"),
        ("sound.mp4", sound_alone, "holds no pictures"),
    ],
)
def test_what_is_no_whole_video_is_an_error(tmp_path, name, make, said):
    make(tmp_path / name)
    with pytest.raises(ImageError, match=said):
        read_clip(tmp_path / name, everything)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.gif"])
def test_long_and_large_videos_are_refused_before_they_are_decoded(tmp_path, monkeypatch, name):
    pictures = frames(12)
    if name.endswith("gif"):
        pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:])
        monkeypatch.setattr("vitcam.inputs.read_video.open_image", None)
    else:
        write_video(tmp_path / name, pictures)
        monkeypatch.setattr("vitcam.inputs.read_video._upright", None)
    with pytest.raises(ImageError, match=r"has more than 11 frames\. Cut out what is to be explained"):
        read_clip(tmp_path / name, everything, max_frames=11)
    with pytest.raises(ImageError, match="frames of 48×32: more than 1,000 pixels"):
        read_clip(tmp_path / name, everything, max_pixels=1000)
    with pytest.raises(
        ImageError, match=r"more than 18,000 pixels in all its frames of 48×32\. Make it smaller"
    ):
        read_clip(tmp_path / name, everything, max_decoded=18_000)


@pytest.mark.parametrize(
    "content", ["ffconcat version 1.0\nfile other.mpg\n", "#EXTM3U\n#EXTINF:1,\nother.mpg\n#EXT-X-ENDLIST\n"]
)
def test_a_video_that_is_a_list_of_other_files_opens_none_of_them(tmp_path, content):
    write_video(tmp_path / "other.mpg", frames(4), codec="mpeg1video", rate=25)
    assert read_clip(tmp_path / "other.mpg", everything).total == 4
    (tmp_path / "list.mp4").write_text(content)
    with pytest.raises(ImageError, match=r"list\.mp4 can't be read as a video"):
        read_clip(tmp_path / "list.mp4", everything)


def test_frames_that_become_larger_in_the_midst_of_a_file_count_as_they_are(tmp_path):
    """A header of small frames hides no work."""
    parts = [
        write_video(
            tmp_path / f"{size[0]}.m2v.mpg", frames(12, size), codec="mpeg1video", rate=25
        ).read_bytes()
        for size in ((48, 32), (96, 64))
    ]
    (tmp_path / "both.mpg").write_bytes(b"".join(parts))
    most = 24 * 48 * 32

    def first(total):
        return range(total - 2)  # without those that the decoder holds back

    assert {frame.size for frame in read_clip(tmp_path / "both.mpg", first).frames} == {(48, 32), (96, 64)}
    with pytest.raises(ImageError, match=r"more than 36,864 pixels in all its frames of 96×64"):
        read_clip(tmp_path / "both.mpg", first, max_decoded=most)


# Sounds


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_sound_is_what_was_written(tmp_path, name):
    samples = tone(0.5)
    sound = read_sound(write_sound(tmp_path / name, samples), RATE, 10.0)
    assert (sound.rate, sound.seconds) == (RATE, 0.5)
    assert np.abs(sound.samples - samples[:, 0]).max() < 1e-4
    both = np.concatenate([samples, 0.5 * samples], axis=1)
    mixed = read_sound(write_sound(tmp_path / name, both), RATE, 0.25)
    assert (len(mixed.samples), mixed.seconds) == (RATE // 4, 0.5)
    assert np.abs(mixed.samples - 0.75 * samples[: RATE // 4, 0]).max() < 1e-4


@pytest.mark.parametrize(("rate", "wanted"), [(44100, 16000), (8000, 16000), (48000, 16000), (22050, 48000)])
def test_a_tone_stays_the_same_tone_at_another_rate(rate, wanted):
    """Against the tone itself; what the new rate can't hold is gone."""
    found = resampled(tone(0.5, 1000.0, rate)[:, 0], rate, wanted)
    expected = tone(0.5, 1000.0, wanted)[:, 0]
    inside = slice(200, -200)
    assert len(found) == len(expected)
    assert np.abs(found[inside] - expected[inside]).max() < 1e-3
    if rate > wanted:
        high = resampled(tone(0.5, 0.52 * wanted, rate)[:, 0], rate, wanted)
        assert np.abs(high[inside]).max() < 1e-2


def spoilt(path):
    samples = tone(0.1)
    samples[7] = np.nan
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(str(path), samples, RATE, subtype="FLOAT")


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("a.wav", lambda path: write_sound(path, np.zeros((100, 1), np.float32)), "is silent"),
        ("a.wav", lambda path: write_sound(path, np.zeros((0, 1), np.float32)), "it has no samples"),
        ("a.wav", lambda path: write_sound(path, tone(0.1, channels=6)), "6 channels; expected one or two"),
        ("a.wav", spoilt, "holds 1 samples that are NaN or infinite"),
        ("a.wav", half, "truncated"),
        ("a.flac", half, "truncated|damaged"),
        ("a.wav", lambda path: path.write_text("no sound" * 99), "can't be read as a sound"),
        ("a.mp4", lambda path: path.write_text("x"), "this model takes sounds, whose files end in .aif"),
    ],
)
def test_what_is_no_sound_is_an_error(tmp_path, name, make, said):
    make(tmp_path / name)
    with pytest.raises(ImageError, match=said):
        read_sound(tmp_path / name, RATE, 10.0)


# Volumes


def test_a_scan_is_turned_to_the_orientation_that_is_asked_for(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    file = write_scan(
        tmp_path / "scan.nii.gz", values, np.diag([-1.0, -1.0, 1.0, 1.0])
    )  # to the left, to the back
    assert np.array_equal(read_scan(file, 1, None).values[0], values)
    assert np.array_equal(read_scan(file, 1, "RAS").values[0], values[::-1, ::-1])
    assert np.array_equal(read_scan(file, 1, "SLP").values[0], values.transpose(2, 0, 1))


def test_channels_of_a_scan_come_first(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 5, 6, 2)).astype(np.float32)
    assert np.array_equal(
        read_scan(write_scan(tmp_path / "a.nii", values), 2, "RAS").values, values.transpose(3, 0, 1, 2)
    )
    np.save(tmp_path / "a.npy", values.transpose(3, 0, 1, 2))
    assert np.array_equal(read_scan(tmp_path / "a.npy", 2, "RAS").values, values.transpose(3, 0, 1, 2))


def scan_of(values):
    return lambda path: write_scan(path, values)


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("a.nii", scan_of(np.zeros((4, 4, 4), np.float32)), "is empty: all of its voxels are 0"),
        ("a.nii", scan_of(np.full((4, 4, 4), np.nan, np.float32)), "holds 64 voxels that are NaN"),
        ("a.nii", scan_of(np.ones((4, 4, 4, 3), np.float32)), "has 3 values in each voxel"),
        ("a.nii", scan_of(np.ones((4, 4), np.float32)), "expected the three of a volume"),
        ("a.nii", scan_of(np.ones((4, 4, 4), np.complex64)), "holds values of the type complex64"),
        ("a.nii", half, "can't be read as a NIfTI file"),
        ("a.nii.gz", lambda path: path.write_bytes(b"\x1f\x8b" + bytes(99)), "can't be read as a NIfTI file"),
        ("a.npy", half, "can't be read as an array"),
        ("a.npy", lambda path: np.save(path, np.array([{}], dtype=object)), "can't be read as an array"),
        ("a.tif", lambda path: path.write_text("x"), r"this model takes volumes, whose files end in \.nii"),
    ],
)
def test_what_is_no_volume_is_an_error(tmp_path, name, make, said):
    make(tmp_path / name)
    with pytest.raises(ImageError, match=said):
        read_scan(tmp_path / name, 1, "RAS")


def test_large_volumes_are_refused_before_they_are_read(tmp_path, monkeypatch):
    file = write_scan(tmp_path / "a.nii", np.random.default_rng(0).random((9, 9, 9)))
    monkeypatch.setattr("nibabel.nifti1.Nifti1Image.get_fdata", None)
    with pytest.raises(ImageError, match="has 1×9×9×9 values, more than 500"):
        read_scan(file, 1, "RAS", max_voxels=500)


@pytest.mark.parametrize("kind", ["Nifti1Image", "Nifti2Image"])
def test_what_stands_in_front_of_a_scans_values_is_limited_too(tmp_path, monkeypatch, kind):
    """Packed it may be nearly nothing, and nibabel keeps it all."""
    nibabel = pytest.importorskip("nibabel")
    scan = getattr(nibabel, kind)(np.random.default_rng(0).random((4, 4, 4)), np.eye(4))
    scan.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, bytes(5000)))
    nibabel.save(scan, tmp_path / "a.nii.gz")
    assert read_scan(tmp_path / "a.nii.gz", 1, "RAS").values.shape == (1, 4, 4, 4)
    monkeypatch.setattr("vitcam.inputs.read_volume.MAX_START", 5000)
    monkeypatch.setattr("nibabel.load", None)
    with pytest.raises(ImageError, match=r"a\.nii\.gz is damaged: 5,\d+ bytes stand in front of its values"):
        read_scan(tmp_path / "a.nii.gz", 1, "RAS")


# Bands


@pytest.mark.parametrize("name", ["a.npy", "last.npy", "a.tif", "last.tif", "packed.tif"])
def test_bands_are_read_from_the_first_axis_or_the_last(tmp_path, name):
    values = np.random.default_rng(0).integers(0, 9999, (13, 6, 8), dtype=np.uint16)
    given = np.moveaxis(values, 0, -1) if name.startswith("last") else values
    if name.endswith("npy"):
        np.save(tmp_path / name, given)
    else:
        tifffile = pytest.importorskip("tifffile", reason="pip install 'vitcam[bands]'")
        compression = "zlib" if "packed" in name else None
        tifffile.imwrite(tmp_path / name, given, photometric="minisblack", compression=compression)
    assert np.array_equal(read_bands(tmp_path / name, 13).values, values)
    with pytest.raises(ImageError, match="expected 4 bands, which is what the model takes"):
        read_bands(tmp_path / name, 4)
    with pytest.raises(ImageError, match="more than 40 pixels"):
        read_bands(tmp_path / name, 13, max_pixels=40)


@pytest.mark.parametrize("other", ["others.tif", "none.tif"])
def test_a_tiff_that_names_other_files_opens_none_of_them(tmp_path, other):
    """Nor are those that aren't there taken for zeros."""
    tifffile = pytest.importorskip("tifffile", reason="pip install 'vitcam[bands]'")
    values = np.random.default_rng(0).integers(1, 9999, (2, 2, 6, 8), dtype=np.uint16)
    options = {"photometric": "minisblack", "metadata": None}
    (tmp_path / "mine").mkdir()
    tifffile.imwrite(tmp_path / "others.tif", values[1], **options)
    planes = "".join(
        f'<TiffData IFD="{n}" FirstC="{n}" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{name}</UUID></TiffData>'
        for n, name in enumerate(("a.tif", f"../{other}"))
    )
    said = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:a.tif"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="8" SizeY="6" SizeC="2" SizeZ="1" '
        f'SizeT="1">{planes}</Pixels></Image></OME>'
    )
    tifffile.imwrite(tmp_path / "mine" / "a.tif", values[0], description=said, **options)
    assert np.array_equal(read_bands(tmp_path / "mine" / "a.tif", 2).values, values[0])


@pytest.mark.parametrize("packed", ["zlib", "lzma"])
def test_a_tiff_unpacks_to_no_more_than_it_says(tmp_path, packed):
    tifffile = pytest.importorskip("tifffile", reason="pip install 'vitcam[bands]'")
    much = {"zlib": zlib, "lzma": lzma}[packed].compress(bytes(2**20))
    options = {"shape": (6, 8), "dtype": np.uint8, "photometric": "minisblack", "compression": packed}
    tifffile.imwrite(tmp_path / "a.tif", iter([much]), **options)
    with pytest.raises(ImageError, match=r"a\.tif is damaged: one of its tiles or strips holds more than"):
        read_bands(tmp_path / "a.tif", 1)


def test_what_pillow_reads_has_bands_too(tmp_path):
    grey = np.random.default_rng(0).integers(0, 255, (6, 8), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert np.array_equal(read_bands(tmp_path / "a.png", 1).values[0], grey)
    with pytest.raises(ImageError, match="expected 3 bands"):
        read_bands(tmp_path / "a.png", 3)
    np.save(tmp_path / "a.npy", np.full((2, 4, 4), np.inf))
    with pytest.raises(ImageError, match="32 values that are NaN or infinite"):
        read_bands(tmp_path / "a.npy", 2)


def test_pictures_are_read_by_what_is_meant_for_them(tmp_path):
    """Pillow has a reader that runs another program."""
    frames(1)[0].save(tmp_path / "a.eps")
    for name, read in (
        ("a.png", lambda path: read_bands(path, 3)),
        ("a.gif", lambda path: read_clip(path, everything)),
    ):
        (tmp_path / name).write_bytes((tmp_path / "a.eps").read_bytes())
        with pytest.raises(ImageError, match="UnidentifiedImageError"):
            read(tmp_path / name)


# Limits of those who read files of strangers


def test_limits_hold_for_whatever_a_model_takes(tmp_path):
    frame = Preprocessing((32, 32), (0.5,) * 3, (0.5,) * 3)
    pictures = frames(6)
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:])
    pictures[0].save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((4, 48, 32)))
    for name, prepare, memory in (
        ("a.gif", ClipPreprocessing(4, frame), 4 * 48 * 32 * 3),
        ("a.png", frame, 48 * 32 * 12),
        ("a.npy", VolumePreprocessing((4, 8, 8)), 4 * 48 * 32 * 4),
        ("a.npy", BandPreprocessing((8, 8), (0.0,) * 4, (1.0,) * 4), 4 * 48 * 32 * 4),
    ):
        prepare.read(tmp_path / name, ReadingLimits(memory, work=10**9))
        with pytest.raises(ImageError, match=r"(more than|exceeds).*Make it smaller"):
            prepare.read(tmp_path / name, ReadingLimits(memory - 12, work=10**9))
    with pytest.raises(ImageError, match="pixels in all its frames"):
        ClipPreprocessing(4, frame).read(tmp_path / "a.gif", ReadingLimits(10**9, work=6 * 48 * 32 * 3 - 1))


# Packages that read


@pytest.mark.parametrize(
    ("module", "extra", "name", "read"),
    [
        ("av", "video", "a.mp4", lambda path: read_clip(path, everything)),
        ("soundfile", "sound", "a.wav", lambda path: read_sound(path, RATE, 1.0)),
        ("nibabel", "volume", "a.nii", lambda path: read_scan(path, 1, None)),
        ("tifffile", "bands", "a.tif", lambda path: read_bands(path, 1)),
    ],
)
def test_a_package_that_is_missing_is_named_with_what_installs_it(
    tmp_path, monkeypatch, module, extra, name, read
):
    (tmp_path / name).write_text("x")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImageError, match=rf"read by {module}, .* pip install 'vitcam\[{extra}\]'"):
        read(tmp_path / name)


def test_what_is_no_path_is_an_error():
    with pytest.raises(ImageError, match="expected the path of a file, or a tensor"):
        read_clip(b"bytes", everything)
