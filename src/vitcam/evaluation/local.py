"""Refuses addresses where a folder is meant."""

from __future__ import annotations

import os
import re
from pathlib import Path

from vitcam.errors import VitcamError

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/", re.IGNORECASE)


def check_local(path: str | Path, what: str, error: type[VitcamError]) -> None:
    """Refuses ``s3://bucket/run`` and the like, of which a folder called ``s3:`` would be made.

    Args:
        path: what the user gave.
        what: it is to be, for the message.
        error: of which kind.

    Raises:
        VitcamError: of that kind: it is an address.

    Example:
        >>> check_local("runs/first", "a run's folder", VitcamError)
        >>> check_local("s3://bucket/run", "a run's folder", VitcamError)
        Traceback (most recent call last):
        vitcam.errors.VitcamError: s3://bucket/run is an address, ...
    """
    text = str(path)
    found = _ADDRESS.match(text)
    if found is None or os.path.exists(text):  # noqa: PTH110  Path.exists raises for a name that is too long
        return
    address = text if "://" in text else text.replace(":/", "://", 1)  # pathlib has made one of two slashes
    if found[1].lower() == "file":
        remedy = f"give the path alone, {address[len('file://') :]}"
    else:
        remedy = (
            "nothing is read from or written to object stores or other servers directly: mount it (s3fs, gcsfuse, "
            "blobfuse), or work in a local folder and copy that"
        )
    raise error(
        f"{address} is an address, but {what} must be a folder of this machine's file systems; {remedy}"
    )
