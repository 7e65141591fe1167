"""What is not there because retention deleted it, and why retention has to wait."""

from __future__ import annotations

from storage.errors import ObjectMissing, StorageError


class ObjectDeleted(ObjectMissing):
    """Retention deleted what is asked for; the message says when and by which rule."""

    code = "object_deleted"


class ImagesDeleted(ObjectDeleted):
    """Retention deleted images of the study; when they are sent again, they are stored and analysed again."""

    code = "images_deleted"


class ResultsDeleted(ObjectDeleted):
    """Retention deleted the objects and maps of the result; its numbers stay on record."""

    code = "results_deleted"


class PicturesDeleted(ObjectDeleted):
    """Retention deleted the pictures of the result."""

    code = "pictures_deleted"


class RetentionBusy(StorageError):
    """Another process is deleting by the rules at this moment."""

    code = "retention_busy"
    retryable = True
