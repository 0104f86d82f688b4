"""Files of bits and of readings, of any size: packed, checked, measured piece by piece."""
