"""The endpoint over HTTP: validation, micro-batches, limits, metrics, and the exchange of models.

The only room that imports FastAPI, Starlette, uvicorn, orjson and prometheus_client; they are the
extra `serve` of setup.py.
"""
