"""The jobs, one module a part of the library. `groundglass.bench.registry` lists them."""
