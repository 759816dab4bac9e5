"""What Miles is compared with: a server per module, started as `python -m benchmarks.peers.NAME PORT`.

    seed            the design that Miles replaces: PyTorch, padded texts, a handler that blocks its loop
    threaded        FastAPI with a plain `def` handler, which runs in a pool of threads
    litserve_peer   LitServe, batching
    bentoml_peer    BentoML, adaptive batching
    mosec_peer      Mosec, a server in Rust with Python workers, batching
    ray_peer        Ray Serve, batching
    afternoon       FastAPI, ONNX Runtime in int8, a pool of threads and httpx

All but `seed` and `afternoon` run the same compiled towers through `same_engine`, so that only the serving
differs.
"""
