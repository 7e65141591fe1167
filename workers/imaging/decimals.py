"""Numbers in headers, as ``storage.decimals`` reads them."""

from __future__ import annotations

from storage.decimals import as_decimals, decimal, decimals

__all__ = ["as_decimals", "decimal", "decimals"]
