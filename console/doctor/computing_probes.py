"""Probes of what computes: the broker, the weights and the device."""

from __future__ import annotations

from collections.abc import Iterator

from console.doctor.parts import ExaminedPart, PartHealth
from console.installation import Installation
from storage.errors import ConfigurationError


def probe_broker(installation: Installation) -> Iterator[ExaminedPart]:
    """Ask the broker; the embedded one runs only while `oncue up` does."""
    from console.broker import with_broker
    from workers.queue.app import make_app
    from workers.queue.publisher import Publisher

    try:
        settings = with_broker(installation.settings.worker, installation.state)
    except ConfigurationError as error:
        yield ExaminedPart("broker", PartHealth.REMARK, str(error))
        return
    publisher = Publisher(make_app(settings))
    answers = publisher.answers()
    publisher.close()
    is_embedded = settings is not installation.settings.worker
    if answers:
        yield ExaminedPart("broker", PartHealth.FINE, "the embedded one answers" if is_embedded else "answers")
    elif is_embedded:
        yield ExaminedPart("broker", PartHealth.REMARK, "the embedded one is not running; `oncue up` starts it")
    else:
        yield ExaminedPart("broker", PartHealth.BROKEN, "does not answer; check worker.broker_url and the server")


def probe_weights(installation: Installation) -> Iterator[ExaminedPart]:
    """Hash every weight file against its manifest."""
    from workers.errors import WeightsMismatch
    from workers.weights import MANIFEST_NAME, verify

    root = installation.settings.worker.models_folder()
    folders = sorted(path.parent for path in root.glob(f"**/{MANIFEST_NAME}"))
    if not folders:
        raise WeightsMismatch(f"no weights in {root}; set worker.models")
    for folder in folders:
        manifest = verify(folder)
        yield ExaminedPart(
            "weights", PartHealth.FINE, f"{manifest.name} {manifest.version}, {len(manifest.files)} files intact"
        )


def probe_device(installation: Installation) -> Iterator[ExaminedPart]:
    """Say where models would run, and in which number format."""
    from workers.devices import choose_device, choose_dtype

    settings = installation.settings.worker
    device = choose_device(settings.device)
    dtype = choose_dtype(device, settings.dtype)
    yield ExaminedPart("device", PartHealth.FINE, f"{device}, {str(dtype).removeprefix('torch.')}")
