"""Other libraries' explanations beside vitcam's, on the models that they read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from torch import Tensor

from vitcam.bench.measuring import Bench
from vitcam.bench.parts import libraries
from vitcam.bench.results import Group, Row
from vitcam.bench.subject import BenchSubject, load_subject
from vitcam.bench.timing import Entry

Build = Callable[[BenchSubject, Tensor], Callable[[], object]]


@dataclass(frozen=True)
class Peer:
    """An explanation by another library.

    Attributes:
        library: its name for pip.
        does: what it does, in its own words.
        ours: the method of vitcam that does the same.
        build: from a model and images to what does it once.
        upsampled: whether its maps are as large as the image, so that ours are to be, too.
        note: what one should know to compare the two.
        obstacle: from a model to why it isn't used with it; "" if it is.
    """

    library: str
    does: str
    ours: str
    build: Build
    upsampled: bool = False
    note: str = ""
    obstacle: Callable[[BenchSubject], str] = lambda subject: ""

    @property
    def name(self) -> str:
        return f"{self.library} {self.does}"

    @property
    def version(self) -> str | None:
        """Of the library that is installed; None if it isn't."""
        try:
            return version(self.library)
        except PackageNotFoundError:
            return None


# By the model that they read; "" is the one that is benchmarked.
PEERS: dict[str, tuple[Peer, ...]] = {
    "": (
        Peer(
            "grad-cam", "GradCAM", "gradcam", libraries.grad_cam, upsampled=True,
            obstacle=libraries.grad_cam_obstacle,
        ),
        Peer("captum", "Saliency", "captum:Saliency", libraries.captum_saliency, note="at the pixels"),
    ),
    "torchvision:vit_b_16": (
        Peer("torchcam", "LeGrad", "legrad", libraries.torchcam_legrad),
        Peer(
            "lxt",
            "AttnLRP",
            "attnlrp(conv_gamma=0, linear_gamma=0)",
            libraries.lxt_relevance,
            note="ε rule; lxt takes CP-LRP inside torchvision's attention, which is less work",
        ),
    ),
    "open_clip:ViT-B-16": (
        Peer(
            "legrad_torch", "LeGrad", "legrad(layers='last:2')", libraries.legrad_torch, upsampled=True,
            note="its default, the last two layers; it takes one image at a time",
        ),
    ),
}  # fmt: skip


def peers(bench: Bench) -> Iterator[Group]:
    """One group per model and batch; libraries that aren't installed, or don't fit, are listed as such."""
    for spec, listed in PEERS.items():
        installed = [peer for peer in listed if peer.version]
        missing = tuple(
            Row(peer.name, "not installed", f"pip install {peer.library}")
            for peer in listed
            if not peer.version
        )
        if not installed:
            yield Group("peers", f"Peers on {spec or bench.settings.model}", missing)
            continue
        bench.tell(f"loading {spec or bench.settings.model}")
        subject = (
            load_subject(spec, bench.settings.precision, bench.settings.device) if spec else bench.subject
        )
        unfit = tuple(
            Row(peer.name, "not applicable", obstacle)
            for peer in installed
            if (obstacle := peer.obstacle(subject))
        )
        fitting = [peer for peer in installed if not peer.obstacle(subject)]
        alone = all(peer.build is libraries.legrad_torch for peer in fitting)
        for batch in [1] if alone else dict.fromkeys(bench.settings.batches):
            title = f"Peers on {subject.loaded.spec}, batch {batch}, {bench.settings.precision}"
            measured = bench.measure(title, peer_entries(subject, batch, fitting))
            yield Group("peers", title, (*measured, *unfit, *missing))


def peer_entries(subject: BenchSubject, batch: int, listed: Sequence[Peer]) -> list[Entry]:
    """The model's forward pass; then each library's explanation after vitcam's."""
    images = subject.images(batch)
    entries = [Entry("forward", subject.forward(images), batch)]
    for peer in listed:
        ours = subject.explain(images, peer.ours)
        run = _upsampled(ours) if peer.upsampled else ours
        entries.append(Entry(f"vitcam {peer.ours}", run, batch, "forward"))
        note = f"version {peer.version}" + (f"; {peer.note}" if peer.note else "")
        entries.append(
            Entry(peer.name, _once_built(peer.build, subject, images), batch, "forward", note=note)
        )
    return entries


def _upsampled(run: Callable[[], object]) -> Callable[[], object]:
    def upsampled() -> object:
        return run().upsampled()  # type: ignore[attr-defined]  # an Explanation

    return upsampled


def _once_built(build: Build, subject: BenchSubject, images: Tensor) -> Callable[[], object]:
    """Builds it at the first call, the warm-up: a library that can't even be imported fails there."""
    built: list[Callable[[], object]] = []

    def run() -> object:
        if not built:
            built.append(build(subject, images))
        return built[0]()

    return run
