"""Roles of a PostgreSQL database: who may change the schema, run oncue, read the history, or archive it.

They are groups that cannot log in: a site gives its own login roles to them. Everything that they are not granted is
refused by the database itself.
"""
