"""Settings of the gateway: who may send, how patient it is, and where results go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, IPvAnyNetwork, StringConstraints

from dicom_gateway.destinations import Destination
from storage.domain import Lane


def _destination(text: str) -> str:
    return str(Destination.parse(text))


AeTitle = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=r"^[\x20-\x5b\x5d-\x7e]+$")
]
DestinationText = Annotated[str, AfterValidator(_destination)]


class GatewaySettings(BaseModel):
    """Listener, assembly and delivery.

    The listener binds to loopback until somebody names another address: with no TLS and with any calling AE title
    welcome, an open port would be open to the whole network by accident.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    aet: AeTitle = Field(default="ONCUE", description="Our AE title; an association that calls another one is rejected")
    host: str = Field(
        default="127.0.0.1", description="Address to listen on; 0.0.0.0 or :: for every interface of the machine"
    )
    port: int = Field(default=11112, ge=0, le=65535, description="Port to listen on; 0 picks a free one")
    allowed_aets: tuple[AeTitle, ...] = Field(
        default=(), description="Calling AE titles that may send; empty means any, which is warned about"
    )
    allowed_networks: tuple[IPvAnyNetwork, ...] = Field(
        default=(), description="Networks (CIDR) that may connect; empty means any"
    )
    lanes: dict[AeTitle, Lane] = Field(
        default={}, description="Lane of the studies of a calling AE title: stat, routine or batch; default routine"
    )
    routes: Path | None = Field(
        default=None,
        description="Routes (TOML), which series get which analysis; default: routes.toml of the state folder or ours",
    )
    destinations: tuple[DestinationText, ...] = Field(
        default=(), description="Where results are sent, each as AET@HOST:PORT"
    )
    reject_superseded: tuple[DestinationText, ...] = Field(
        default=(),
        description="Destinations that get a rejection note (IHE IOCM) when a result that they have is superseded",
    )
    quiet_seconds: float = Field(
        default=10.0, gt=0, description="A study is complete when nothing arrived for so long and nobody is sending it"
    )
    maximum_associations: int = Field(default=32, ge=1, description="Open associations before new ones are rejected")
    maximum_half_open: int = Field(
        default=64, ge=1, description="Connections that have not yet asked for an association; the oldest one gives way"
    )
    maximum_half_open_per_address: int = Field(default=8, ge=1, description="The same, from one address")
    maximum_instance_megabytes: int = Field(
        default=4096, ge=1, description="Larger instances are refused; they are streamed to disk, so memory is no limit"
    )
    maximum_unrecorded_images: int = Field(
        default=10_000,
        ge=1,
        description="Images that may be safe on disk and wait for the database before further ones are refused",
    )
    maximum_unrecorded_megabytes: int = Field(default=16_384, ge=1, description="The same, by their size")
    maximum_pdu_bytes: int = Field(default=131_072, ge=4096, description="Largest P-DATA-TF that peers may send us")
    acse_seconds: float = Field(
        default=15.0, gt=0, description="A connection must have asked for an association by then"
    )
    network_seconds: float = Field(default=60.0, gt=0, description="An association that is silent for so long is ended")
    pdu_seconds: float = Field(
        default=30.0, gt=0, description="A PDU that has begun must be there in full by then, however slowly it drips"
    )
    connect_seconds: float = Field(default=10.0, gt=0, description="How long to wait for a destination to connect")
    answer_seconds: float = Field(
        default=120.0, gt=0, description="How long to wait for a destination to answer one C-STORE"
    )
    delivery_lease_seconds: float = Field(
        default=900.0, gt=0, description="Another gateway takes a delivery over when its sender was silent for so long"
    )
    delivery_poll_seconds: float = Field(
        default=1.0,
        gt=0,
        description="How often to look for results to be sent; with SQLite a commit is noticed within 0.5 s anyway",
    )
    drain_seconds: float = Field(
        default=10.0, ge=0, description="On stopping, open associations may go on for so long before they are aborted"
    )

    def lane(self, calling_aet: str) -> Lane:
        """Return the lane of a sender's studies."""
        return self.lanes.get(calling_aet, Lane.ROUTINE)

    def listening_on(self, port: int) -> Self:
        """Return the same settings with another port."""
        return self.model_copy(update={"port": port})
