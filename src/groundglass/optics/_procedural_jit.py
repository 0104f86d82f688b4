"""The compiled part of `procedural.py`: draw some entries, add them up, forget them."""
# mypy: ignore-errors
# (numba has no types, and compiled functions take theirs from the first call)

from groundglass.core.compiled import compiled
from groundglass.optics._entries_jit import fill
from groundglass.optics._lookup_jit import TABLES, add_sums, write
from groundglass.optics.entries import TILE_LANES

__all__ = ["TABLES", "measure"]


@compiled
def measure(
    table, keys, position, inputs, codes, group, span, parts, gain, top, block, tables, total, wide, readings, light
):
    """The tiles with these keys, for one block of rows, into `readings` and `light` from tile `position` on.

    Args:
        table: int8 [65536], see `gaussian_table`.
        keys: uint32 [tiles, 4].
        position: of the first of them among the tiles that are seen.
        inputs: int32 [n], which inputs the codes are of.
        codes, group, parts, gain, top, total, wide, readings, light: as in `_lookup_jit.measure`.
        span: inputs that are drawn at a time; a multiple of TABLES * group.
        block: scratch for them, int8 [1, span, 64].
        tables: scratch aligned to 64 bytes: int16 [TABLES * 2^group * 64].
    """
    n, batch = len(inputs), codes.shape[1]
    passes = span // (TABLES * group)
    for k in range(len(keys)):
        wide[:] = 0
        for chunk in range((n + span - 1) // span):
            low = chunk * span
            some = inputs[low : low + span]
            drawn = block[:, : len(some)]
            fill(table, keys[k], some, drawn[0])
            first = chunk * passes
            add_sums(drawn, 0, 0, codes, first, min(first + passes, codes.shape[0]), group, tables, total)
            for i in range(batch * TILE_LANES):
                wide[i] += total[i]
        write(wide, position + k, parts, gain, top, readings, light)
