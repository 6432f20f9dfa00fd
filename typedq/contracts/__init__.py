"""What a task accepts: signature, payload, schema, fingerprint. No I/O."""

from typedq.contracts.canonical import canonical, document_hash, fingerprint
from typedq.contracts.contract import MAX_DEPTH, Arguments, Contract, contract_of
from typedq.contracts.foreign import ByPydantic, Json
from typedq.contracts.fragments import KEYWORDS, READER_KEYWORDS
from typedq.contracts.guards import too_deep
from typedq.contracts.schema import document
from typedq.contracts.secrets import MASK, Secret, mask

__all__ = [
    "KEYWORDS",
    "MASK",
    "MAX_DEPTH",
    "READER_KEYWORDS",
    "Arguments",
    "ByPydantic",
    "Contract",
    "Json",
    "Secret",
    "canonical",
    "contract_of",
    "document",
    "document_hash",
    "fingerprint",
    "mask",
    "too_deep",
]
