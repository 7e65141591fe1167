"""Compressed pixel data, decoded in child processes that can crash, hang or run out of memory without harm."""
