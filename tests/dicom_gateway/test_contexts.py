from __future__ import annotations

from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

from dicom_gateway.contexts import accepted_contexts
from storage.sop_kinds import ImageKind, classes_of

_READ = sorted(classes_of(ImageKind.VOLUME) | classes_of(ImageKind.IMAGE))


def test_every_class_that_is_read_is_accepted_over_a_real_association() -> None:
    server, client = AE(ae_title="ONCUE"), AE(ae_title="MODALITY")
    server.supported_contexts = accepted_contexts()
    listening = server.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0)])
    assert listening is not None
    try:
        asked = [build_context(known, [ExplicitVRLittleEndian]) for known in _READ]
        asked += [build_context(known, [syntax]) for known in _READ for syntax in (JPEGBaseline8Bit, RLELossless)]
        asked += [build_context(known, [JPEG2000Lossless]) for known in _READ]
        association = client.associate("127.0.0.1", listening.server_address[1], contexts=asked)
        assert association.is_established
        taken = {(context.abstract_syntax, *context.transfer_syntax) for context in association.accepted_contexts}
        association.release()
    finally:
        listening.shutdown()
    assert taken == {(context.abstract_syntax, *context.transfer_syntax) for context in asked}
