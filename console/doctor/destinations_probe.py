"""The probe of the destinations: whether each answers, what it takes, and what keeps results from it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from pydicom.uid import UID, Comprehensive3DSRStorage, KeyObjectSelectionDocumentStorage, SegmentationStorage

from console.destinations.trial import ask
from console.doctor.answers import PATIENCE, echoed
from console.doctor.parts import ExaminedPart, PartHealth
from console.doctor.process_probes import current_endpoints
from console.installation import Installation
from console.routes.routes_file import read_routes
from dicom_gateway.chosen_forms import FormChoice, choose
from dicom_gateway.commitment.report_takers import asked_title
from dicom_gateway.destinations import Destination
from dicom_gateway.errors import PeerRejectedObject
from dicom_gateway.sending.verifying import echo
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage import delivery_lists, destinations, peers
from storage.database import utc_now
from storage.destinations import DestinationEntry
from storage.errors import OncueError
from storage.peers import Service
from storage.proof_ways import ProofWay
from storage.states import DeliveryState, ProofState

_RESULTS = (SegmentationStorage, Comprehensive3DSRStorage)
_REJECTION = KeyObjectSelectionDocumentStorage


def probe_destinations(installation: Installation) -> Iterator[ExaminedPart]:
    """Ask each entry what it takes, and each address of the settings by C-ECHO and for what it is sent."""
    here = current_endpoints(installation)
    gateway = installation.settings.gateway
    entries = _entries(installation)
    texts = tuple(dict.fromkeys((*gateway.destinations, *here.destinations)))
    if not texts and not entries:
        detail = "none: results stay here; oncue destinations add NAME AET@HOST:PORT, or gateway.destinations"
        yield ExaminedPart("destinations", PartHealth.REMARK, detail)
    for entry in entries:
        yield from _probe_entry(entry, installation)
    names = {entry.address: entry.name for entry in entries}
    for text in texts:
        if text in names:
            detail = f"{text} is in gateway.destinations and the address of {names[text]}, which is what counts"
            yield ExaminedPart("destination", PartHealth.REMARK, detail)
        else:
            yield _probe_address(text, installation, calling_aet=here.aet)


def _entries(installation: Installation) -> Sequence[DestinationEntry]:
    with installation.read() as session:
        return destinations.entries(session)


def _probe_address(text: str, installation: Installation, *, calling_aet: str) -> ExaminedPart:
    gateway = installation.settings.gateway
    peer = Destination.parse(text)
    sent = (*_RESULTS, _REJECTION) if text in gateway.reject_superseded else _RESULTS
    outcome = echo(peer, calling_ae_title=calling_aet, timeouts=PATIENCE, tls=DestinationTls(gateway), sop_classes=sent)
    if not outcome.answered or not outcome.untaken:
        return echoed("destination", peer, outcome)
    names = ", ".join(UID(uid).name for uid in outcome.untaken)
    reason = f"{peer} answers C-ECHO but refuses {names}; allow us to store it there, or results will be refused"
    return ExaminedPart("destination", PartHealth.BROKEN, f"[{PeerRejectedObject.code}] {reason}")


def _probe_entry(entry: DestinationEntry, installation: Installation) -> Iterator[ExaminedPart]:
    subject = f"destination {entry.name}"
    yield from (ExaminedPart(subject, *found) for found in _standing(entry, installation))
    known = {route.name for route in read_routes(installation).routes.routes}
    gone = [name for name in entry.routes or () if name not in known]
    if gone:
        detail = f"no route is called {', '.join(gone)}: oncue destinations change {entry.name} --routes"
        yield ExaminedPart(subject, PartHealth.REMARK, detail)
    if entry.paused:
        return
    try:
        taken = ask(entry, installation.settings.gateway)
    except OncueError as error:
        yield ExaminedPart(subject, PartHealth.BROKEN, f"[{error.code}] {error}")
        return
    yield from (ExaminedPart(subject, *found) for found in _forms(entry, choose(entry, taken).choices))


def _standing(entry: DestinationEntry, installation: Installation) -> Iterator[tuple[PartHealth, str]]:
    """Say what keeps results from a destination that it does not know of itself."""
    with installation.read() as session:
        proofs = delivery_lists.count_proofs(session, entry.name)
        numbers = delivery_lists.count_by_state(session, entry.name)
        circuit = destinations.open_circuits(session, now=utc_now()).get(entry.name)
    waiting = numbers.get(DeliveryState.PENDING, 0)
    if entry.paused:
        yield PartHealth.REMARK, f"paused; {waiting} deliveries wait: oncue destinations resume {entry.name}"
    if circuit is not None:
        reason = f"[{circuit.code}] " if circuit.code else ""
        since = f"after {circuit.failures} attempts; {waiting} deliveries wait"
        yield PartHealth.REMARK, f"{reason}left alone until {circuit.until:%H:%M:%S} (UTC) {since}"
    if refused := numbers.get(DeliveryState.REFUSED, 0):
        yield PartHealth.REMARK, f"{refused} deliveries were refused: oncue deliveries list --in refused"
    if unproven := proofs.get(ProofState.FAILED, 0):
        yield (
            PartHealth.REMARK,
            (
                f"{unproven} objects that it took it does not vouch for: oncue deliveries list shows why, and "
                "oncue deliveries retry sends them anew"
            ),
        )
    if entry.proof is ProofWay.COMMITMENT and (remedy := _letting_report(entry, installation)):
        reason = "no peer entry lets it report of commitment over associations of its own, unless it reports at once"
        yield PartHealth.REMARK, f"{reason}: {remedy}"


def _letting_report(entry: DestinationEntry, installation: Installation) -> str | None:
    """Return the command that lets the peer that is asked for commitment open an association for its report."""
    with installation.read() as session:
        known = [one for one in peers.entries(session) if one.allowed and one.calling_aet == asked_title(entry)]
    if any(Service.COMMITMENT in one.services for one in known):
        return None
    if not known:
        return f"oncue peers add {entry.name} --aet {asked_title(entry)} --services commit"
    services = ",".join(sorted({*known[0].services, Service.COMMITMENT}))
    return f"oncue peers change {known[0].name} --services {services}"


def _forms(entry: DestinationEntry, choices: Collection[FormChoice]) -> Iterator[tuple[PartHealth, str]]:
    lost = [choice for choice in choices if choice.chosen is None]
    instead = [choice for choice in choices if choice.chosen is not None and not choice.is_as_asked]
    if lost:
        yield PartHealth.BROKEN, f"[{PeerRejectedObject.code}] {entry.address}: {'; '.join(map(str, lost))}"
    if instead:
        yield PartHealth.REMARK, f"{entry.address}: {'; '.join(map(str, instead))}"
    if not lost and not instead:
        forms = ", ".join(choice.asked for choice in choices)
        yield PartHealth.FINE, f"{entry.address} answers; it gets {forms}"
