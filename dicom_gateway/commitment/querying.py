"""Which objects a destination that knows no commitment has, by C-FIND or QIDO-RS (PS3.4 C.4.1, PS3.18 10.6).

Asked is for the instances of each series. Whatever else a destination answers is nothing, and an answer ends within
one time limit and a number of instances, whatever it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from dicom_gateway.asking.counts import MOST_IMAGES, checked_study
from dicom_gateway.asking.finder import open_finder, query, readable
from dicom_gateway.asking.web_client import WebClient
from dicom_gateway.destinations import Destination, WebAddress
from dicom_gateway.http_exchange import Deadline
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.commitment.proofs import AskedObject

_STUDY, _INSTANCE = "0020000D", "00080018"


@dataclass(frozen=True, slots=True)
class HoldingsQuery:
    """How destinations are asked what they have; ``seconds`` bound everything that is asked at once."""

    aet: str
    seconds: float
    tls: DestinationTls | None = None

    def kept(
        self, address: Destination | WebAddress, objects: Sequence[AskedObject], *, credentials: Path | None
    ) -> frozenset[str]:
        """Return the SOP Instance UIDs of those objects that a destination has.

        Raises SourceSilent, SourceTooSlow, SourceRefused, SourceAnswerInvalid, PeerDeniedAccess and PeerUntrusted.
        """
        wanted = {one.sop_instance_uid for one in objects}
        series = dict.fromkeys((one.study_instance_uid, one.series_instance_uid) for one in objects)
        if isinstance(address, WebAddress):
            found = self._by_qido(WebClient(address, credentials, self.tls), list(series))
        else:
            found = self._by_find(address, list(series))
        return frozenset(wanted & found)

    def _by_find(self, peer: Destination, series: Sequence[tuple[str, str]]) -> set[str]:
        found: set[str] = set()
        with open_finder(peer, calling_aet=self.aet, seconds=self.seconds, tls=self.tls) as finder:
            for study, one in series:
                keys = {"StudyInstanceUID": study, "SeriesInstanceUID": one}
                for answer in finder.answers(query("IMAGE", "SOPInstanceUID", **keys), most=MOST_IMAGES):
                    with readable():
                        about, instance = answer.get("StudyInstanceUID", ""), answer.get("SOPInstanceUID", "")
                    checked_study(str(about), study)
                    found.add(str(instance))
        return found

    def _by_qido(self, service: WebClient, series: Sequence[tuple[str, str]]) -> set[str]:
        found: set[str] = set()
        deadline = Deadline(self.seconds)
        fields = [("includefield", _INSTANCE), ("limit", str(MOST_IMAGES))]
        for study, one in series:
            path = f"/studies/{quote(study, safe='')}/series/{quote(one, safe='')}/instances"
            for answer in service.listed(path, fields, deadline=deadline):
                checked_study(answer.value(_STUDY), study)
                found.add(answer.value(_INSTANCE))
        return found
