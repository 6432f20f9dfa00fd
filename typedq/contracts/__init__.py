"""What a task accepts: signature, payload, schema, fingerprint. No I/O."""

from typedq.contracts.canonical import canonical, document_hash, fingerprint
from typedq.contracts.contract import MAX_DEPTH, Contract, contract_of
from typedq.contracts.guards import too_deep
from typedq.contracts.schema import document

__all__ = [
    "MAX_DEPTH",
    "Contract",
    "canonical",
    "contract_of",
    "document",
    "document_hash",
    "fingerprint",
    "too_deep",
]
