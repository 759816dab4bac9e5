"""How fast Miles is, measured: each module is one benchmark, whose last line of output is JSON."""
