"""Retention of images, results and pictures: rules, plans, deletion. `storage.history` has that of the audit trail."""
