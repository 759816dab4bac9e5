"""What Miles is compared with: a server per module, started as `python -m benchmarks.peers.NAME PORT`.

    seed            the design that Miles replaces: PyTorch, padded texts, a handler that blocks its loop
    threaded        FastAPI with a plain `def` handler, which runs in a pool of threads
    litserve_peer   LitServe, batching
    bentoml_peer    BentoML, adaptive batching

All but `seed` run the same compiled towers through `same_engine`, so that only the serving differs.
"""
