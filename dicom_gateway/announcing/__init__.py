"""Announcements in the words of each receiver: HL7, FHIR, webhooks and e-mail."""
