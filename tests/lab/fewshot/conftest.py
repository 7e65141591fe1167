from __future__ import annotations

from tests.support.encoder_folders import models, pictures

__all__ = ["models", "pictures"]
