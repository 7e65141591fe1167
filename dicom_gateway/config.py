"""Settings of the gateway: where it listens, how patient it is, and where results go."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    StringConstraints,
    model_validator,
)

from dicom_gateway.destinations import Destination
from storage.domain import Lane


def _destination(text: str) -> str:
    return str(Destination.parse(text))


AeTitle = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=r"^[\x20-\x5b\x5d-\x7e]+$")
]
DestinationText = Annotated[str, AfterValidator(_destination)]


class AtDeadline(StrEnum):
    """What becomes of a study of which something is missing at its deadline.

    ANALYSE: what is there is analysed. HOLD: it waits for the rest, or until a person releases it. SET_ASIDE: it is
    not analysed unless a person releases it or another image comes.
    """

    ANALYSE = "analyse"
    HOLD = "hold"
    SET_ASIDE = "set_aside"


class ClientCertificates(StrEnum):
    """Whether a TLS listener asks for the caller's certificate; one that is shown must always hold."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


class ListenerSettings(BaseModel):
    """One more port that associations may be asked for at, by default with TLS on both sides (PS3.15 B.12)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=2762, ge=0, le=65535)
    tls: bool = True
    client_certificates: ClientCertificates = ClientCertificates.REQUIRED

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        how = f" (TLS, client certificates {self.client_certificates})" if self.tls else " (without TLS)"
        return f"{host}:{self.port}{how}"


class TakenFiles(StrEnum):
    """What becomes of the files of a watched folder once they are taken."""

    MOVE = "move"
    DELETE = "delete"


class WatchedFolderSettings(BaseModel):
    """A folder whose DICOM files are taken in, as if ``aet`` had sent them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    aet: AeTitle = "FOLDER"
    lane: Lane = Lane.ROUTINE
    taken: TakenFiles = TakenFiles.MOVE
    still_seconds: float = Field(default=5.0, gt=0)

    def __str__(self) -> str:
        return f"{self.path} (as {self.aet}, {self.lane}, {self.taken})"


class GatewaySettings(BaseModel):
    """Listeners, assembly and delivery.

    The plain listener binds to loopback until somebody names another address: without TLS, what arrives can be read on
    the way. Who may send is no setting: peers are entries in the database (``storage.peers``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    aet: AeTitle = Field(default="ONCUE", description="Our AE title; an association that calls another one is rejected")
    host: str = Field(
        default="127.0.0.1", description="Address to listen on; 0.0.0.0 or :: for every interface of the machine"
    )
    port: int = Field(default=11112, ge=0, le=65535, description="Port to listen on; 0 picks a free one")
    listeners: tuple[ListenerSettings, ...] = Field(
        default=(),
        description="More ports: `host`, `port`, `tls` (true), `client_certificates` (required, optional, none)",
    )
    watched_folders: tuple[WatchedFolderSettings, ...] = Field(
        default=(),
        description="Folders whose DICOM files are taken in: `path`, `aet` that they are from (FOLDER), `lane` (stat,"
        " routine, batch), what becomes of `taken` ones (move to done/, delete), `still_seconds` without change (5)",
    )
    tls_certificate: Path | None = Field(
        default=None,
        description="Our certificate (PEM, its issuers behind it), for TLS listeners and for destinations that ask",
    )
    tls_key: Path | None = Field(
        default=None, description="Private key of gateway.tls_certificate (PEM); default: it stands in that file"
    )
    tls_key_password: SecretStr = Field(default=SecretStr(""), description="Password of the private key")
    tls_callers_ca: Path | None = Field(
        default=None, description="Certificates (PEM) that those of callers are held against"
    )
    tls_callers_crl: Path | None = Field(
        default=None, description="Revocation lists (PEM or DER) of gateway.tls_callers_ca, one for each issuer"
    )
    tls_destinations_ca: Path | None = Field(
        default=None,
        description="Certificates (PEM) that those of destinations are held against; default: the system's",
    )
    tls_destinations_crl: Path | None = Field(
        default=None, description="Revocation lists (PEM or DER) of gateway.tls_destinations_ca, one for each issuer"
    )
    tls_destination_names: dict[str, str] = Field(
        default={}, description="Name in the certificate of a destination's host, where it is not the host itself"
    )
    allowed_networks: tuple[IPvAnyNetwork, ...] = Field(
        default=(),
        description="Networks (CIDR) that may connect at all, whatever the peers' entries say; empty means any",
    )
    admit_loopback: bool = Field(
        default=True,
        description="Senders on this machine need no entry among the peers; false behind a proxy on this machine",
    )
    routes: Path | None = Field(
        default=None,
        description="Routes (TOML), which series get which analysis; default: routes.toml of the state folder or ours",
    )
    destinations: tuple[DestinationText, ...] = Field(
        default=(),
        description="Where SEG and SR of each result are sent, each as AET@HOST:PORT or tls://AET@HOST:PORT;"
        " `oncue destinations` has more to say of each, and an entry with the same address counts",
    )
    reject_superseded: tuple[DestinationText, ...] = Field(
        default=(),
        description="Those of gateway.destinations that get a rejection note (IHE IOCM) when a result that they have is"
        " superseded",
    )
    quiet_seconds: float = Field(
        default=10.0,
        gt=0,
        description="A study is complete when nothing arrived for so long and nobody is sending it; where"
        " quiet times are learned, that of senders of whom too little is known",
    )
    quiet_learned: bool | None = Field(
        default=None,
        description="Learn quiet times from senders' pauses, by modality; by default where quiet_seconds is not set",
    )
    quiet_least_seconds: float = Field(default=5.0, gt=0, description="Learned quiet times are at least so long")
    quiet_most_seconds: float = Field(default=120.0, gt=0, description="Learned quiet times are at most so long")
    late_quiet_most_seconds: float = Field(
        default=900.0, gt=0, description="The quiet time of a study doubles with each late image in a row, up to this"
    )
    deadline_seconds: float = Field(
        default=1800.0, gt=0, description="A study is not waited for any longer after its revision was opened"
    )
    at_deadline: AtDeadline = Field(
        default=AtDeadline.ANALYSE,
        description="What becomes of a study of which something is missing then: analyse, hold or set_aside",
    )
    source_seconds: float = Field(
        default=10.0, gt=0, description="How long a source may take to say how many images it holds of a study"
    )
    processes: int = Field(
        default=1, ge=1, le=64, description="Processes that receive on the same port; the limits below are shared out"
    )
    maximum_associations: int = Field(
        default=32, ge=1, description="Open associations before an idle one gives way, or the new one is rejected"
    )
    maximum_associations_per_peer: int = Field(default=16, ge=1, description="The same, of one peer")
    maximum_associations_per_address: int = Field(default=28, ge=1, description="The same, from one address")
    reserved_associations: int = Field(
        default=4, ge=0, description="Of all, so many are kept for peers that have none open; a quarter at most"
    )
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
        default=120.0,
        gt=0,
        description="Another gateway takes a delivery over when its sender was silent for so long; one at work is not",
    )
    delivery_poll_seconds: float = Field(
        default=1.0,
        gt=0,
        description="How often to look for results to be sent; with SQLite a commit is noticed within 0.5 s anyway",
    )
    announcing_seconds: float = Field(
        default=20.0,
        gt=0,
        description="How long to wait for the receiver of an announcement to connect, and then for its answer",
    )
    announcing_lease_seconds: float = Field(
        default=120.0,
        gt=0,
        description="Another gateway takes an announcement over when its sender was silent for so long",
    )
    announcing_poll_seconds: float = Field(
        default=10.0, gt=0, description="How often to look for announcements and escalations that nobody told of"
    )
    announcing_console_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s?#]+$",
        description="Address of the console's pages as readers reach it, for links in announcements; default: no links",
    )
    drain_seconds: float = Field(
        default=10.0, ge=0, description="On stopping, open associations may go on for so long before they are aborted"
    )

    @property
    def learns_quiet(self) -> bool:
        """Whether quiet times are learned: a time that somebody set is kept to, unless they ask for both."""
        return "quiet_seconds" not in self.model_fields_set if self.quiet_learned is None else self.quiet_learned

    @model_validator(mode="after")
    def _quiet_times_are_in_order(self) -> Self:
        if self.quiet_least_seconds > self.quiet_most_seconds:
            raise ValueError("quiet_least_seconds is above quiet_most_seconds: no learned quiet time lies between")
        return self

    @model_validator(mode="after")
    def _folders_are_apart(self) -> Self:
        paths = [folder.path.absolute() for folder in self.watched_folders]
        for path in paths:
            if any(path.is_relative_to(other) for other in paths if other is not path):
                raise ValueError(f"gateway.watched_folders: {path} is, or lies in, another of them; watch it once")
        return self

    @model_validator(mode="after")
    def _has_what_tls_needs(self) -> Self:
        secured = [listener for listener in self.listeners if listener.tls]
        if secured and self.tls_certificate is None:
            raise ValueError(
                "gateway.listeners: a listener with TLS needs gateway.tls_certificate and gateway.tls_key; "
                "`oncue certificates make` makes them for a trial"
            )
        asking = any(listener.client_certificates is not ClientCertificates.NONE for listener in secured)
        if asking and self.tls_callers_ca is None:
            raise ValueError(
                "gateway.listeners: client certificates are held against gateway.tls_callers_ca, which is not set; "
                'set it, or client_certificates = "none" for a listener that asks for none'
            )
        if self.tls_certificate is None and self.tls_key is not None:
            raise ValueError("gateway.tls_key is set without gateway.tls_certificate: set both")
        return self
