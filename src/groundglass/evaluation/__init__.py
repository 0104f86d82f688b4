"""Laws of an i.i.d. matrix, and media held against them."""
