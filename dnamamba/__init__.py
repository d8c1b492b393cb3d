"""dnamamba: byte-level Mamba models of long DNA."""

__version__ = "0.1.0"
