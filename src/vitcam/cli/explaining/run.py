"""What was asked for, looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

from vitcam import __version__
from vitcam.cli.explaining.targets import Classes, choose_targets
from vitcam.errors import ModelError
from vitcam.methods import canonical_name, find_method
from vitcam.models import LoadedModel, Preprocessing, load_model
from vitcam.recording import Precision


@dataclass(frozen=True)
class ExplainRun:
    """A run of ``vitcam explain``.

    Attributes:
        methods: canonical names, each once.
        threshold: of the boxes; None means no boxes.
        versus: the class whose score is taken away; None if none is.
        score: what a class is scored by.
        tiles: size and overlap of the tiles that photographs are cut into; None if they aren't.
        bands: whether what each band (red, green, blue) counts is said.
        animated: "webp" or "gif", in which the maps of clips are written; None if they aren't.
    """

    model: LoadedModel
    targets: Classes
    methods: Sequence[str]
    output: Path
    threshold: float | None
    precision: Precision
    batch_size: int
    compile: bool = False
    versus: int | None = None
    score: str = "logit"
    tiles: tuple[int, int] | None = None
    bands: bool = False
    animated: str | None = None

    @property
    def takes_photographs(self) -> bool:
        """Whether that is what the model takes, and not another kind of input."""
        return isinstance(self.model.preprocessing, Preprocessing)

    @classmethod
    def prepared(
        cls,
        *,
        model: str,
        targets: Sequence[str],
        methods: Sequence[str],
        versus: str | None = None,
        device: str | None = None,
        **settings: Any,
    ) -> ExplainRun:
        """Looks up methods and classes, and loads the model.

        Args:
            model, targets, methods, versus, device: as on the command line.
            **settings: the other attributes.

        Raises:
            MethodError: there is no such method or option.
            ModelError: there is no such model, or it can't be loaded.
            TargetError: there is no such class.
            ModelError: what it takes has no animation.
        """
        names = dict.fromkeys(canonical_name(*find_method(name)) for name in methods)
        loaded, classes, against = choose_targets(load_model(model, device=device), targets, versus)
        kind = loaded.preprocessing.kind
        if settings.get("animated") and kind.moments is None:
            raise ModelError(f"--animated is for clips; {loaded.spec} takes a {kind.name}")
        return cls(model=loaded, targets=classes, methods=list(names), versus=against, **settings)

    def described(self) -> dict[str, Any]:
        """What holds for all photographs, for the manifest."""
        *_, height, width = self.model.preprocessing.size
        chosen = [find_method(name) for name in self.methods]
        return {
            "versions": {
                "vitcam": __version__,
                "torch": version("torch"),
                "timm": version("timm"),
                "python": python_version(),
            },
            "model": {"spec": self.model.spec, "input": {"width": width, "height": height}},
            "methods": [
                {"name": name, "options": options, "paper": method.paper}
                for name, (method, options) in zip(self.methods, chosen, strict=True)
            ],
            "versus": None
            if self.versus is None
            else {"index": self.versus, "name": self._name(self.versus)},
            "score": self.score,
            "precision": self.precision,
            "threshold": self.threshold,
            "tiles": None if self.tiles is None else dict(zip(("size", "overlap"), self.tiles, strict=True)),
        }

    def _name(self, index: int) -> str:
        names = self.model.class_names
        return names[index] if names else f"class {index}"
