"""groundglass: what does a secret analog layer buy a neural network, and what does it cost to break?"""

__version__ = "0.2.0"
