"""Volume drivers of this repository."""
