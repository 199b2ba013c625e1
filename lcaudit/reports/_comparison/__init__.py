"""Formats of a comparison of two networks, one file each; a file defines ``WRITER``."""
