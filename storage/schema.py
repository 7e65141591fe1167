"""Every table of oncue in one place, for whoever compares them with a database."""

from __future__ import annotations

from sqlalchemy import MetaData

from storage.announcing.tables import ChannelRow
from storage.arrival_tables import AssociationRow
from storage.audit_forwards import AuditForwardRow
from storage.audit_tables import AuditEventRow
from storage.commitment.tables import CommitmentRequestRow
from storage.console_tables import ConsoleTokenRow
from storage.deletion_tables import AnalysisFileRow
from storage.delivery_tables import DestinationRow
from storage.fetching.tables import FetchSourceRow
from storage.fewshot.tables import ClassificationTaskRow
from storage.holdings.tables import HeldStudyRow
from storage.models import Model
from storage.peer_tables import PeerRow
from storage.result_tables import AnalysisRow
from storage.routing_tables import RoutingRow
from storage.triage.tables import TriagePolicyRow
from storage.workitems.tables import WorkitemRow

TABLES = (
    Model,
    AssociationRow,
    PeerRow,
    RoutingRow,
    AnalysisRow,
    DestinationRow,
    AuditEventRow,
    AuditForwardRow,
    ClassificationTaskRow,
    ConsoleTokenRow,
    AnalysisFileRow,
    TriagePolicyRow,
    ChannelRow,
    WorkitemRow,
    HeldStudyRow,
    CommitmentRequestRow,
    FetchSourceRow,
)
"""One of each module of tables: importing it puts all of that module into the metadata."""

METADATA: MetaData = Model.metadata
