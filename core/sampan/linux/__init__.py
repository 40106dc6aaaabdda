"""Kernel facilities by ctypes, with no word of containers."""
