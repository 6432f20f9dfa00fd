"""What a task accepts: signature, payload, schema, fingerprint. No I/O."""

from typedq.contracts.canonical import canonical, document_hash, fingerprint
from typedq.contracts.contract import Contract, contract_of
from typedq.contracts.schema import document

__all__ = [
    "Contract",
    "canonical",
    "contract_of",
    "document",
    "document_hash",
    "fingerprint",
]
