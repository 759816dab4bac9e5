"""A small real name server, over UDP and TCP, that answers each question as the test says (RFC 1035)."""

import asyncio
import struct
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any

A, CNAME, TXT, AAAA = 1, 5, 16, 28
NXDOMAIN, SERVFAIL, REFUSED = 3, 2, 5
UDP_LIMIT = 512

Record = tuple[str, int, bytes]  # owner, type, data
Answer = Sequence[Record] | int | None  # records, an error code, or silence
Rule = Callable[[str, int, int], Answer]  # name, type, how often this was asked before


def spelled(name: str) -> bytes:
    """A name as labels on the wire."""
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def addresses(owner: str, kind: int, *texts: str) -> list[Record]:
    """Those of the addresses that have the type asked for."""
    version = {A: IPv4Address, AAAA: IPv6Address}.get(kind)
    if version is None:
        return []
    return [(owner, kind, version(text).packed) for text in texts if (":" in text) == (kind == AAAA)]


def always(*texts: str) -> Rule:
    return lambda name, kind, _: addresses(name, kind, *texts)


def flipping(*texts: str) -> Rule:
    """The addresses in turn, over and over; if the current one is of the other type, there is no record.

    Each type is counted separately, so that both halves of one look-up get the same turn.
    """
    return lambda name, kind, count: addresses(name, kind, texts[count % len(texts)])


@dataclass
class NameServer:
    """The questions asked, and the rules by name in lower case; other names do not exist.

    `streams` counts TCP connections, which clients make when an answer does not fit into a datagram.
    """

    rules: dict[str, Rule]
    asked: list[tuple[str, int]] = field(default_factory=list)
    streams: int = 0

    def count(self, name: str, kind: int = A) -> int:
        return self.asked.count((name, kind))

    def answer(self, question: bytes, limit: int | None) -> bytes | None:
        """The answer to one message; beyond `limit` it is cut, and the client asks again over TCP."""
        end, labels = 12, []
        while question[end]:
            labels.append(question[end + 1 : end + 1 + question[end]].decode("latin-1"))
            end += 1 + question[end]
        name, (kind,) = ".".join(labels), struct.unpack_from("!H", question, end + 1)
        key = name.lower()
        before = self.count(key, kind)
        if limit is not None:  # a question repeated over TCP is the same question
            self.asked.append((key, kind))
        else:
            before -= 1
        rule = self.rules.get(key)
        found: Answer = NXDOMAIN if rule is None else rule(name, kind, before)
        if found is None:
            return None
        code, records = (found, []) if isinstance(found, int) else (0, list(found))
        body = b"".join(
            spelled(owner) + struct.pack("!HHIH", rtype, 1, 0, len(rdata)) + rdata
            for owner, rtype, rdata in records
        )
        head = question[12 : end + 5]
        cut = limit is not None and 12 + len(head) + len(body) > limit
        flags = 0x8180 | code | (0x0200 if cut else 0)
        counts = struct.pack("!HHHHH", flags, 1, 0 if cut else len(records), 0, 0)
        return question[:2] + counts + head + (b"" if cut else body)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: Any) -> None:  # uvloop's is not an asyncio.DatagramTransport
        self._transport = transport

    def datagram_received(self, datagram: bytes, address: tuple[str, int]) -> None:
        answer = self._server.answer(datagram, UDP_LIMIT)
        if answer is not None:
            self._transport.sendto(answer, address)


@asynccontextmanager
async def naming(address: str, rules: dict[str, Rule]) -> AsyncGenerator[NameServer]:
    server = NameServer(rules)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.streams += 1
        try:
            while length := await reader.readexactly(2):
                answer = server.answer(await reader.readexactly(int.from_bytes(length)), None)
                if answer is not None:
                    writer.write(len(answer).to_bytes(2) + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(server), local_addr=(address, 53))
    streams = await asyncio.start_server(talk, address, 53)
    try:
        yield server
    finally:
        transport.close()
        streams.close()
