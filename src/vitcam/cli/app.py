"""``vitcam app``."""

from __future__ import annotations

from typing import Annotated

import typer

from vitcam.cli.options import Device
from vitcam.cli.terminal import stderr


def app(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen; 0.0.0.0 is every network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=1, max=65535)] = 7860,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="SPEC",
            help="A model to offer besides embedded:photo, see `vitcam models`. Repeat it for several.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="MODULE:OBJECT",
            help="A method of your own to offer besides vitcam's. Repeat it for several.",
            show_default=False,
        ),
    ] = None,
    max_upload_mb: Annotated[
        float, typer.Option("--max-upload-mb", metavar="N", min=0.01, help="The size of a file.")
    ] = 20,
    max_megapixels: Annotated[
        float,
        typer.Option(
            "--max-megapixels",
            metavar="N",
            min=0.01,
            help="The pixels of a photograph. Other files may hold what takes as much memory.",
        ),
    ] = 50,
    visitor_quota_mb: Annotated[
        float,
        typer.Option(
            "--visitor-quota-mb",
            metavar="N",
            min=0.01,
            help="The files that are kept of a visitor; the oldest make room.",
        ),
    ] = 100,
    total_quota_mb: Annotated[
        float,
        typer.Option("--total-quota-mb", metavar="N", min=0.01, help="Those of all visitors; likewise."),
    ] = 1000,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--trusted-proxy",
            metavar="ADDRESS",
            help="A proxy (or network) whose X-Forwarded headers are believed; those of others are ignored. "
            "Repeat it for several.",
            show_default=False,
        ),
    ] = None,
    models_in_memory: Annotated[
        int, typer.Option("--models-in-memory", metavar="N", min=1, help="Models that are kept loaded.")
    ] = 2,
    device: Device = None,
) -> None:
    """Explain photographs, videos, sounds, volumes and pictures of many bands in the browser.

    Listens on this machine alone, where you may type any model. With another `--host`, or behind a proxy, visitors
    choose among the models given with `--model` and can't give methods options: a model's specification makes the
    server download models and read its files. There is no password; put a proxy that asks for one before it.

    Example: `vitcam app --model timm:vit_base_patch16_224 --model open_clip:ViT-B-32/laion2b_s34b_b79k`
    """
    from vitcam.app.policy import policy_for
    from vitcam.app.server import serve
    from vitcam.methods import METHODS

    for name in method or []:
        METHODS.find(name)
    proxies = trusted_proxy or []
    policy = policy_for(
        host, model or [], proxied=bool(proxies), max_megapixels=max_megapixels, device=device
    )
    serve(
        policy,
        host=host,
        port=port,
        max_upload_mb=max_upload_mb,
        visitor_quota_mb=visitor_quota_mb,
        total_quota_mb=total_quota_mb,
        trusted_proxies=proxies,
        models_in_memory=models_in_memory,
        ready=lambda address: stderr().print(f"vitcam is at {address} (Ctrl+C ends it)"),
    )
