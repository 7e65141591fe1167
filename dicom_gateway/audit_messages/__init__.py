"""The audit trail in the words of the standards: DICOM audit messages, FHIR AuditEvent, syslog."""
