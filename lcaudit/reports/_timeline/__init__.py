"""Formats of a timeline of checkpoints, one file each; a file defines ``write``."""
