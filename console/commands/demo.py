"""`oncue demo`: one study through the whole system, on this machine, with nothing installed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Study = Annotated[
    Path | None,
    typer.Option("--study", metavar="FOLDER", exists=True, help="Folder of DICOM files instead of the phantom."),
]
Keep = Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", file_okay=False, help="Folder that receives the picture.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of the phantom.")]


def demo(*, study: Study = None, keep: Keep = False, out: Out = Path("out"), seed: Seed = 7) -> None:
    """Send a phantom head MR, or your own study, through the whole system and show what the PACS received.

    Starts a PACS of its own and `oncue up` on free loopback ports. Exit code 0 says that it worked.

    Example: oncue demo --study ./my-study --out ./out
    """
    from rich.console import Console

    from console.demo.demonstration import DemoOptions, demonstrate

    if not demonstrate(DemoOptions(study, out, keep, seed), Console()):
        raise typer.Exit(1)
