"""Downloads that fail quickly, and say what else can be done."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from urllib.parse import urlparse

from vitcam.errors import ModelError
from vitcam.models.spec import Spec

# One request that nobody answers must not take longer. The hub's own client tries six times per file.
TIMEOUT_SECONDS = 5.0


@contextmanager
def hugging_face(spec: Spec, local: str, repository: str | None = None) -> Iterator[None]:
    """Inside, the Hugging Face hub may be used, by whichever library.

    If it can't be reached, that is found out once and at once: only the local cache is used inside.

    Args:
        spec: the model, for the message.
        local: how the model would be loaded without a network.
        repository: what will be fetched, where that is known, so that nothing is begun in vain.

    Raises:
        ModelError: something couldn't be fetched.
    """
    cause = _hub_silence()
    if cause and repository and not _is_cached(repository):
        raise _unavailable(spec, f"{cause}, and the model isn't in the local cache", local)
    with _offline() if cause else nullcontext():
        try:
            yield
        except (OSError, RuntimeError) as error:  # open_clip makes RuntimeErrors of failed downloads
            reason = f"{cause}, and the model isn't in the local cache" if cause else _first_line(error)
            raise _unavailable(spec, reason, local) from error


@contextmanager
def download(url: str, cached: Path, spec: Spec, local: str) -> Iterator[None]:
    """Inside, a file may be downloaded from ``url``, unless it is ``cached`` already, and read.

    Raises:
        ModelError: it couldn't be fetched or read.
    """
    try:
        if not cached.exists():
            _knock(url)
        yield
    except Exception as error:  # a damaged file makes torch raise nearly anything
        reason = f"{url} can't be fetched, or its local copy {cached} can't be read ({_first_line(error)})"
        raise _unavailable(spec, reason, local) from error


def _knock(url: str) -> None:
    """Raises at once what a download would raise after minutes, where the network swallows packets."""
    try:
        request = urllib.request.Request(url, method="HEAD")
        urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS).close()
    except urllib.error.HTTPError:
        return  # an answer, be it that HEAD isn't served


def _unavailable(spec: Spec, reason: str, local: str) -> ModelError:
    return ModelError(
        f"Can't load {spec}: {reason}.\n"
        f"Ways out: weights on this machine ({local}), or embedded:photo, which needs no network."
    )


def _hub_silence() -> str | None:
    """Why the Hugging Face hub can't be reached; None if it answers, whatever it answers."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=TIMEOUT_SECONDS)
    except Exception as error:  # the hub's client has used three HTTP libraries so far, each with its errors
        return f"{urlparse(constants.ENDPOINT).netloc} can't be reached ({_first_line(error)})"
    return None


def _is_cached(repository: str) -> bool:
    from huggingface_hub import constants

    return (Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}").exists()


@contextmanager
def _offline() -> Iterator[None]:
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
