"""What the cores can do at most."""

from benchmarks.matrix_peak import int8_instructions


def test_amx_and_vnni_are_told_apart() -> None:
    """By the processor's flags; AMX counts where there are both."""
    flags = {
        "flags : avx2 avx512_vnni amx_tile amx_int8": "AMX",
        "flags : avx2 avx_vnni": "VNNI",
        "flags : avx2 avx512_vnni amx_bf16": "VNNI",
        "flags : avx2 fma": "neither AMX nor VNNI",
    }
    assert {text: int8_instructions(text) for text in flags} == flags
