"""Memory that has run out, in a sentence."""

from __future__ import annotations

from vitcam.errors import RunError


def out_of_memory(error: BaseException, batch: int) -> RunError:
    """The sentence for it."""
    if batch > 1:
        remedy = (
            f"give the same command with a smaller --batch-size, such as {batch // 2}: it goes on from there"
        )
    else:
        remedy = (
            "not even one photograph at a time fits: take fewer methods at once, a smaller model, --precision bf16 "
            "or another --device"
        )
    return RunError(
        f"memory has run out with {batch} photographs in a batch ({str(error).partition(chr(10))[0][:200]}). What is "
        f"stored is whole; {remedy}"
    )
