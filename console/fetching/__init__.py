"""Sources and studies that are fetched from them, as commands and programs see them."""
