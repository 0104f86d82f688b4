"""Phrasebooks: other libraries' calls, answered by our attacks. A script changes its import, and nothing else."""
