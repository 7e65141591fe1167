"""Retention of images, results and pictures: rules, plans, deletion. That of the audit trail is in `storage.history`."""
