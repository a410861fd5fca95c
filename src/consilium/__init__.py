"""consilium: a generalist that consults specialists and known cases, and signs one answer with its evidence."""

__version__ = "0.1.0"
