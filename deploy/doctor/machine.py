"""Processor, memory, disk, ports and programs of this machine."""

from __future__ import annotations

import re
import shutil
import socket
from pathlib import Path

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")
# Instructions for fast int8 and bfloat16 products, by their name in /proc/cpuinfo.
CPU_FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX-VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_int8": "AMX int8",
    "amx_bf16": "AMX bf16",
    "asimddp": "NEON dot product",
    "i8mm": "NEON int8 matrices",
}
# Programs that Debian installs outside of PATH.
MORE_FOLDERS = {"postgres": "/usr/lib/postgresql/*/bin/postgres"}


def cpu_name(proc: Path = PROC) -> str:
    """The processor's name, or `unknown processor`."""
    found = re.search(r"^model name\s*:\s*(.+)$", _read(proc / "cpuinfo"), re.MULTILINE)
    return found[1].strip() if found else "unknown processor"


def cpu_features(proc: Path = PROC) -> list[str]:
    """The usual names of those `CPU_FEATURES` that every core has."""
    lines = re.findall(r"^(?:flags|Features)\s*:(.*)$", _read(proc / "cpuinfo"), re.MULTILINE)
    shared = set.intersection(*(set(line.split()) for line in lines)) if lines else set()
    return [name for flag, name in CPU_FEATURES.items() if flag in shared]


def available_memory(proc: Path = PROC) -> int | None:
    """Bytes available to a new program; None if unknown."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB$", _read(proc / "meminfo"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def memory_limit(proc: Path = PROC, cgroup: Path = CGROUP) -> int | None:
    """The lowest memory limit in bytes of the cgroups (v1 or v2) of this process; None without one."""
    files = [cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"]
    for line in _read(proc / "self" / "cgroup").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        mount = cgroup / "memory" if "memory" in controllers.split(",") else cgroup
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        for part in path.strip("/").split("/"):
            mount = mount / part
            files.append(mount / name)
    limits = [int(text) for text in map(_read, files) if text.isdigit()]
    # v1 represents "no limit" by a huge number.
    real = [limit for limit in limits if limit < 1 << 60]
    return min(real, default=None)


def port_is_free(host: str, port: int) -> bool:
    """Whether the port is free. Raises `OSError` if this cannot be determined."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            if isinstance(exc, PermissionError):
                raise
            return False
        return True


def find_program(*names: str) -> str | None:
    """The path of the first of these programs that is installed; None without one."""
    for name in names:
        elsewhere = sorted(Path("/").glob(MORE_FOLDERS[name].lstrip("/"))) if name in MORE_FOLDERS else []
        found = shutil.which(name) or (str(elsewhere[-1]) if elsewhere else None)
        if found:
            return found
    return None


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
