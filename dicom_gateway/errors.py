"""The gateway's branch of the error tree: each error knows the DIMSE status that a sender is answered with."""

from __future__ import annotations

from dicom_gateway.status import Status
from storage.errors import ConfigurationError, OncueError


class GatewayError(OncueError):
    """A DICOM exchange, or a DICOM object, is not as it must be.

    ``status`` is what a C-STORE that fails this way is answered with.
    """

    code = "gateway_error"
    status: int = Status.PROCESSING_FAILURE


class PeerRefused(GatewayError):
    """The calling peer is not among those that may send."""

    code = "peer_refused"
    status = Status.NOT_AUTHORIZED


class UnsupportedObject(GatewayError):
    """The SOP class or transfer syntax is not one that oncue takes."""

    code = "unsupported_object"
    status = Status.SOP_CLASS_NOT_SUPPORTED


class ObjectMismatch(GatewayError):
    """The data set contradicts the request or the SOP class: other UIDs, or identifying attributes missing."""

    code = "object_mismatch"
    status = Status.MISMATCH


class UndecodableObject(GatewayError):
    """The bytes cannot be read as a DICOM data set."""

    code = "undecodable_object"
    status = Status.CANNOT_UNDERSTAND


class DataSetTooComplex(UndecodableObject):
    """The data set has more elements, or sequences nested deeper, than any real one."""

    code = "data_set_too_complex"


class OutOfResources(GatewayError):
    """Nothing more can be stored durably at the moment."""

    code = "out_of_resources"
    status = Status.OUT_OF_RESOURCES
    retryable = True


class InstanceTooLarge(GatewayError):
    """An instance is larger than the gateway is set to take."""

    code = "instance_too_large"
    status = Status.OUT_OF_RESOURCES


class IdentifierInvalid(GatewayError):
    """The identifier of a query or a retrieval lacks a key that its level needs, or has one that cannot be."""

    code = "identifier_invalid"
    status = Status.MISMATCH


class TooManyMatches(GatewayError):
    """A retrieval asks for more than can be sent in one; it may be asked for in parts."""

    code = "too_many_matches"
    status = Status.CANNOT_COUNT_MATCHES


class MoveDestinationUnknown(GatewayError):
    """Nobody has said where the destination of a C-MOVE is."""

    code = "move_destination_unknown"
    status = Status.MOVE_DESTINATION_UNKNOWN


class QuotaExceeded(GatewayError):
    """A peer has used up what its entry allows it in an hour of the clock."""

    code = "quota_exceeded"
    status = Status.OUT_OF_RESOURCES
    retryable = True


class PeerUnreachable(GatewayError):
    """A peer did not answer, turned the association away for now, or broke it off."""

    code = "peer_unreachable"
    retryable = True


class AddressInOwnNetwork(GatewayError):
    """The address of a channel leads into the own network, where it may not go; nothing was sent."""

    code = "address_in_own_network"
    retryable = True


class PeerUntrusted(GatewayError):
    """A TLS handshake with a peer failed: its certificate does not hold, or it does not take ours; results wait."""

    code = "peer_untrusted"
    retryable = True


class PeerDeniedAccess(GatewayError):
    """A peer does not take our credentials, or there are none that it could take; results wait."""

    code = "peer_denied_access"
    retryable = True


class PeerAnswerInvalid(GatewayError):
    """What a peer answers is no answer by the rules, so nobody knows what became of the objects; results wait."""

    code = "peer_answer_invalid"
    retryable = True


class PeerRejectedObject(GatewayError):
    """A peer will not take an object, or an association, however often it is offered.

    ``of_association``: it takes none from us at all, whatever the object. ``of_form``: it takes no object of this SOP
    class and transfer syntax.
    """

    code = "peer_rejected_object"

    def __init__(self, message: str, *, of_association: bool = False, of_form: bool = False) -> None:
        super().__init__(message)
        self.of_association = of_association
        self.of_form = of_form


class SourceUnusable(GatewayError):
    """The source images do not fit the analysis: one is missing, or its grid is not the label map's."""

    code = "source_unusable"


class ObjectInvalid(GatewayError):
    """An object that oncue built breaks its own information object definition and must not leave."""

    code = "object_invalid"


class StyleInvalid(GatewayError):
    """A destination's series numbers, series description or character set cannot stand in a DICOM object."""

    code = "style_invalid"


class NoSeriesFound(GatewayError):
    """A folder that should be looked at holds no series of DICOM images."""

    code = "no_series_found"


class NothingToSend(GatewayError):
    """A folder that should be sent holds no DICOM file."""

    code = "nothing_to_send"


class SyslogUnreachable(OncueError):
    """The syslog server for audit messages does not answer, or broke off; they wait for it."""

    code = "syslog_unreachable"
    retryable = True


class SyslogUntrusted(OncueError):
    """The syslog server's certificate is not trusted, or it does not take ours; audit messages wait."""

    code = "syslog_untrusted"
    retryable = True


class ProtocolViolation(OncueError):
    """A peer's bytes break PS3.8 or PS3.7, or a bound: its association is aborted.

    ``code`` says which rule or bound; ``abort_reason`` is the reason of the A-ABORT (PS3.8 Table 9-26).
    """

    code = "protocol_violation"

    def __init__(self, message: str, *, code: str = "protocol_violation", abort_reason: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.abort_reason = abort_reason


class RequestCanceled(OncueError):
    """A peer cancels its request by C-CANCEL (PS3.7 9.3.2.3): raised in the service that answers it."""

    code = "request_canceled"


class ConnectionLost(OncueError):
    """A peer's connection ended without a release or an abort."""

    code = "connection_lost"


class AssociationInterrupted(OncueError):
    """We end an association: a newcomer takes its place (``association_displaced``), or the gateway stops."""

    code = "association_interrupted"

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class CertificateUnusable(ConfigurationError):
    """A certificate, private key or revocation list of the settings cannot be read, or does not belong together."""

    code = "certificate_unusable"


class CredentialsInvalid(ConfigurationError):
    """What a file says of who asks is neither a user with a password nor a token."""

    code = "credentials_invalid"


class SourceSilent(GatewayError):
    """The source of a study, asked how many images it holds, cannot be reached or broke off."""

    code = "source_unreachable"
    retryable = True


class SourceTooSlow(SourceSilent):
    """The source of a study did not end its answer in time."""

    code = "source_too_slow"


class SourceRefused(GatewayError):
    """The source of a study does not answer such questions, or not ours."""

    code = "source_refused"


class SourceAnswerInvalid(GatewayError):
    """What the source of a study answers is no count of its images: no number, another study, or without an end."""

    code = "source_answer_invalid"


class RetrievalRefused(GatewayError):
    """A source will not send what it is asked for, or does not know where to."""

    code = "retrieval_refused"
    retryable = True


class FetchInterrupted(GatewayError):
    """The gateway stops while a study is coming; it is fetched again later."""

    code = "fetch_interrupted"
    retryable = True


class BodyBroken(GatewayError):
    """A body is no multipart/related as RFC 2046 has it, or it ends too early."""

    code = "body_broken"


class StudyUnknownToSource(GatewayError):
    """The source of a study holds nothing of it."""

    code = "study_unknown_to_source"
