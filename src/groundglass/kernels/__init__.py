"""Compiled inner loops, the plain code that they are checked against, and the race that picks the fastest one.

Numba is imported in `kernels.jit` alone, and only when a kernel there is first used.
"""
