"""What Miles promises to survive, and how it is proved: the rows of the table that `make hostile` prints.

A promise may have several parts. A new part is added here first: a run of the whole suite fails while any of
these is not measured, so that no promise is forgotten.
"""

PROMISES: dict[str, tuple[str, ...]] = {
    "address classifier": ("20,000 random addresses against two oracle libraries: never looser",),
    "guard module": (
        "100 % branch coverage",
        "no surviving mutant that changes a verdict",
        "no changed constant that leaves every verdict unchanged",
    ),
    "hostile URLs": (
        "250 strings through the service: nothing sent, by kernel counters; 422 if the image is required",
    ),
    "DNS rebinding": ("a real name server that flips 1,000 times; no connection to loopback",),
    "DNS answers": (
        "one bad address refuses the name, at most two are tried",
        "no resolved address in an answer or in the log",
    ),
    "DNS hangs": ("20 in parallel: unreachable at 2 s, other requests unaffected",),
    "stalls": ("12 stall points, each answered at the deadline +- 0.3 s",),
    "slow image hosts": (
        "0 of 1,000 scores lost to dead, slow, throttling or resetting hosts; a good picture waits under 8 s",
        "a host that has timed out: of the next 250 videos at most 2 ask it, all are scored",
        "while a slow host sends 250 pictures, another client's waits for at most two of the host's answers",
    ),
    "redirects": ("every hop vetted, 5 ok and 6 refused, none from https to http, none inward",),
    "TLS faults": ("expired, self-signed, wrong host, TLS 1.0: unreachable, no request sent",),
    "bodies, bombs": (
        "endless body cut at the cap",
        "64 bodies at once that stop below the cap, RSS rise under 300 MB",
        "30 bombs, RSS rise under 300 MB each",
    ),
    "image files": ("120 known files: Pillow's own pixels, or the right reason",),
    "image corpus": (
        "Pillow's files: its own pixels or an error of ours",
        "5,000 mutations: no decoder crashes",
        "Pillow's files from its sdist and 5,000 mutations: no crash, no 5xx",
    ),
    "decoders": (
        "a picture of endless work costs only itself",
        "through the service: a killed or busy decoder costs only its picture",
    ),
    "fuzzing": (
        "URL policy, a minute: public, and read the same by another parser, or refused",
        "redirects, a minute: the same for a Location",
        "decoder, a minute: pixels or an error of ours",
    ),
    "JSON": (
        "2,000 cases of schemathesis: no 5xx, every status documented, "
        "every error a problem with a request id and CORS",
    ),
    "one request": (
        "/health/live during each of them: p99 within 100 ms",
        "4 heads of 50 MB and 60 bodies of 16 MB that do not end: RSS rise under 300 MB",
        "32 clients that ask for /metrics again and again for 3 s: /health/live p99 within 100 ms",
        "two batches of stalled thumbnails: 20 of 20 videos without one are scored",
        "four full explain batches of one key: 20 of 20 videos of another scored; probes in 100 ms",
        "the process's memory under all of it: under 900 MB",
    ),
    "probes": (
        "/health/live during each attack of one client on the full model: p99 within 100 ms",
        "/health/live during each crowd on the full model: p99 within 100 ms",
    ),
    "overload: 500 clients for 60 s": (
        "only 200 and 503 with Retry-After; / under 250 ms at p99; memory flat; back to normal in 5 s",
    ),
    "soak": (
        "10,000 requests: memory slope under 1 MB per 1,000, descriptors and threads flat",
        "a day at a request a second, in 20 minutes: less than 20 MB more a day, nothing left open",
    ),
    "clients that leave": ("99 % of abandoned queued work dropped",),
    "slow senders": ("100 heads that never end: disconnected in 15 s, other clients answered",),
    "SIGTERM under load": ("no accepted request lost, exit 0 within 25 s",),
    "SIGKILL": ("ready again on the same port, no decoder left behind",),
    "a machine that fails": (
        "disk full, read-only, no name server: it starts, scores and uses pictures",
        "64 descriptors: 100 silent connections leave room for others and their pictures",
        "the clock jumps days, a year back and to 2060: ready, and every video is scored",
        "uid 1000 without a home, a locale or a place to write: starts and scores",
        "700 MB of memory: the demo explains 128 videos, reloads or says what is missing, scores",
        "a fifth of one processor: the start takes at most 1.5 times the processor time of a free one",
        "SIGTERM during compile and load: exit 0, no files left",
        "a full disk: a start that must compile ends with one line, a reload is refused",
        "200 SIGHUP under load: every video is scored, every load that began ends",
    ),
    "edges": (
        "no descriptor for a decoder: scored without the picture, then with pictures again",
        "reloads of pipes, endless files, loops, nested manifests: refused, the old model serves",
        "a checkpoint of a megabyte that decompresses to a gigabyte: refused within 600 MB",
    ),
    "model files": ("14 bad files: one clear line each, no code run",),
    "files of a model": (
        "a bundle truncated while in use, or edited next to a pinned checkpoint: the same scores",
    ),
    "the shared cache": (
        "12 lies of a server: the same scores as without it, and it is used again",
        "vectors made up for every key, with a secret: the same scores",
    ),
}
