"""Names that other packages may use."""

__version__ = "0.1.0"
