"""The published contract: JSON Schemas, AsyncAPI and OpenAPI documents, generated from the models that the gateway
uses.

``python -m gateway.contract`` writes them to ``docs/reference/contract``; the gateway serves the same documents.
"""
