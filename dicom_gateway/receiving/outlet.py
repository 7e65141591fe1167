"""What leaves over a peer's association: command sets, and the data sets behind them, from memory or from a file."""

from __future__ import annotations

from dicom_gateway.errors import AssociationInterrupted
from dicom_gateway.protocol import pdus
from dicom_gateway.protocol.channel import Channel
from dicom_gateway.protocol.data_set_pdus import DataSetPdus, FileSource
from dicom_gateway.protocol.exchange import FileDataSet

_LEAST_PDU_BYTES = 8
"""A P-DATA-TF of two bytes of a data set: with less, nothing can be sent in pieces of an even length."""


class Outlet:
    """Sends messages in PDUs that the peer takes; ``maximum_pdu_bytes`` is its longest P-DATA-TF, 0 for any."""

    def __init__(self, channel: Channel, maximum_pdu_bytes: int) -> None:
        self._channel = channel
        self._maximum_pdu_bytes = maximum_pdu_bytes
        self._of_files: DataSetPdus | None = None

    def send(self, context_id: int, command: bytes, data_set: bytes | FileDataSet = b"") -> None:
        """Return when everything is written; no data set is sent where it is empty.

        OSError where a file cannot be read, and nothing was sent; where it ends in the middle, the association cannot
        go on: AssociationInterrupted.
        """
        encoded = pdus.command_pdus(context_id, command, maximum_pdu_bytes=self._maximum_pdu_bytes)
        if isinstance(data_set, FileDataSet):
            self._send_file(context_id, encoded, data_set)
            return
        if data_set:
            encoded += pdus.data_set_pdus(context_id, data_set, maximum_pdu_bytes=self._maximum_pdu_bytes)
        self._channel.send(encoded)

    def _send_file(self, context_id: int, ahead: bytes, data_set: FileDataSet) -> None:
        if 0 < self._maximum_pdu_bytes < _LEAST_PDU_BYTES:
            raise pdus.invalid("the peer's maximum length leaves no room for a data set")
        # Made where it is wanted: its buffer is larger than anything else that an association holds.
        self._of_files = self._of_files or DataSetPdus(self._maximum_pdu_bytes)
        windows = self._of_files.of(context_id, FileSource(data_set.path, data_set.at), ahead=ahead)
        window: memoryview | None = next(windows)
        while window is not None:
            self._channel.send(window)
            try:
                window = next(windows, None)
            except OSError as error:
                raise AssociationInterrupted("object_unreadable") from error
