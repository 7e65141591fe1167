"""What other programs read: the JSON objects of the listings, equal on the command line and in the HTTP API.

Scripts rely on these names. A field may be added to a record of the API, never renamed or taken away.
"""
