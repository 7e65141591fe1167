"""Who may read and change what through the pages and the API."""
