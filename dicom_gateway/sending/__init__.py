"""The way out: associations with peers, and each written object on its way to each destination."""
