"""The published contract: JSON Schemas, AsyncAPI and OpenAPI documents, made from the models that the gateway uses.

``python -m gateway.contract`` writes them into ``docs/reference/contract``; the gateway serves the same at `DOCUMENTS`.
"""
