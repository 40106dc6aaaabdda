"""sampan: a container engine for people without root.

`docs/architecture.md` tells how the pieces fit; modules import only downwards through its floors.
"""

__version__ = "0.1.0"
