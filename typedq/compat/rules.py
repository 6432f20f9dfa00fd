"""The closed list of rules, and for each kind of incompatibility its name, its text and its fix.

Other modules find what differs; this file only says what that is called. An incompatibility has
one name when the new side refuses what the old one writes (it breaks backward), and often
another when the old side refuses what the new one writes (it breaks forward).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

# Names of all findings, as they stand in reports and in accepted breaks. TASK_REMOVED is for those
# who compare whole sets of tasks; it is never found here.
# fmt: off
Rule = Literal[
    "FIELD_ADDED_REQUIRED", "FIELD_REMOVED_REQUIRED", "FIELD_BECAME_REQUIRED",
    "FIELD_BECAME_OPTIONAL", "UNKNOWN_FIELD_REFUSED", "TYPE_NARROWED", "TYPE_WIDENED",
    "TYPE_CHANGED", "NULL_REMOVED", "NULL_ADDED", "ENUM_VALUE_REMOVED", "ENUM_VALUE_ADDED",
    "VARIANT_REMOVED", "VARIANT_ADDED", "TAG_CHANGED", "FORMAT_CHANGED", "ENCODING_CHANGED",
    "CONSTRAINT_TIGHTENED", "CONSTRAINT_LOOSENED", "PATTERN_CHANGED", "ELEMENT_MOVED",
    "LENGTH_CHANGED", "KEY_TYPE_CHANGED", "UNIQUE_ADDED", "OPEN_MEMBER_NARROWED",
    "PAYLOAD_SHAPE_CHANGED", "TASK_REMOVED", "UNKNOWN_KEYWORD", "POSSIBLE_RENAME",
    "DEFAULT_CHANGED", "VALUE_DROPPED", "VALUE_ROUNDED", "CANNOT_COMPARE",
]

# What a reader can miss in, or do to, a writer's values.
Kind = Literal[
    "missing", "omitted", "undeclared", "narrower", "other type", "members lost", "ambiguous",
    "null", "value", "only value", "variant", "tag", "format", "encoding", "bound", "pattern",
    "element", "length", "key", "repeated", "collapsing", "open member", "payload", "keyword",
    "dropped", "renamed", "default", "rounded", "incomparable",
]
# fmt: on


class Verdict(NamedTuple):
    """`sentence` and the fixes may name {what}, {writer}, {reader}, {when}, {who}."""

    backward: Rule
    forward: Rule
    sentence: str
    fix: str
    forward_fix: str = ""
    breaks: bool = True


_UPCAST = "or add an upcaster from the old version"
_WORKERS_FIRST = "deploy the workers before the producers"
_NEW_FIELD = f"add a new field of the new type beside the old one, {_UPCAST}"
_BOTH_TYPES = f"accept both types for a while (a union), {_UPCAST}"

# fmt: off
VERDICTS: dict[Kind, Verdict] = {
    "missing": Verdict("FIELD_ADDED_REQUIRED", "FIELD_REMOVED_REQUIRED",
        "messages written {when} have no {what}; {who} refuses them",
        f"give it a default, {_UPCAST}",
        f"give it a default first, and remove it in a later version; or {_WORKERS_FIRST}"),
    "omitted": Verdict("FIELD_BECAME_REQUIRED", "FIELD_BECAME_OPTIONAL",
        "messages written {when} may leave out {what}; {who} refuses those",
        f"keep the default, {_UPCAST}", _WORKERS_FIRST),
    "undeclared": Verdict("UNKNOWN_FIELD_REFUSED", "UNKNOWN_FIELD_REFUSED",
        "messages written {when} may hold {what}, which {who} does not know and forbids",
        f"allow unknown fields, keep the field, {_UPCAST}",
        f"{_WORKERS_FIRST}; allowing unknown fields would avoid this next time"),
    "narrower": Verdict("TYPE_NARROWED", "TYPE_WIDENED",
        "messages written {when} may hold {writer} here; {who} accepts only {reader}",
        f"keep accepting the old type, {_UPCAST}", _WORKERS_FIRST),
    "other type": Verdict("TYPE_CHANGED", "TYPE_CHANGED",
        "messages written {when} hold {writer} here; {who} expects {reader}", _BOTH_TYPES,
        _WORKERS_FIRST),
    "members lost": Verdict("TYPE_CHANGED", "TYPE_CHANGED",
        "messages written {when} hold any number of entries here; {who} reads only the ones it"
        " declares, and loses the others", _NEW_FIELD, _WORKERS_FIRST),
    "ambiguous": Verdict("TYPE_CHANGED", "TYPE_CHANGED",
        "a value written {when} could be read by {who} as more than one of its variants, and so"
        " come out as another one", "give the variants a tag (a discriminator)"),
    "null": Verdict("NULL_REMOVED", "NULL_ADDED",
        "messages written {when} may hold null here; {who} refuses null",
        f"keep accepting None, {_UPCAST}", _WORKERS_FIRST),
    "value": Verdict("ENUM_VALUE_REMOVED", "ENUM_VALUE_ADDED",
        "messages written {when} may hold {what} here, which {who} does not list",
        f"keep the value, {_UPCAST}", _WORKERS_FIRST),
    "only value": Verdict("ENUM_VALUE_REMOVED", "ENUM_VALUE_ADDED",
        "messages written {when} always hold {writer} here; {who} accepts only {reader}",
        f"accept both values, {_UPCAST}", _WORKERS_FIRST),
    "variant": Verdict("VARIANT_REMOVED", "VARIANT_ADDED",
        "messages written {when} may hold the variant tagged {what}, which {who} does not know",
        f"keep the variant, {_UPCAST}", _WORKERS_FIRST),
    "tag": Verdict("TAG_CHANGED", "TAG_CHANGED",
        "messages written {when} carry the tag {writer}; {who} expects {reader}",
        f"keep the tag (tag=, or the one value of the Literal), {_UPCAST}"),
    "format": Verdict("FORMAT_CHANGED", "FORMAT_CHANGED",
        "messages written {when} hold {writer} here; {who} expects {reader}", _NEW_FIELD),
    "encoding": Verdict("ENCODING_CHANGED", "ENCODING_CHANGED",
        "messages written {when} hold {writer} here; {who} expects {reader}, and would take the"
        " same text for something else", "add a new field beside the old one"),
    "bound": Verdict("CONSTRAINT_TIGHTENED", "CONSTRAINT_LOOSENED",
        "messages written {when} may hold other values here; {who} demands {what}",
        f"keep the looser constraint and check in the task's code, {_UPCAST}", _WORKERS_FIRST),
    "pattern": Verdict("PATTERN_CHANGED", "PATTERN_CHANGED",
        "text written {when} matches {writer}; {who} demands {reader}, and whether one implies"
        " the other is not decided", f"keep the pattern and check in the task's code, {_UPCAST}"),
    "element": Verdict("ELEMENT_MOVED", "ELEMENT_MOVED",
        "this position holds {writer} in messages written {when}; {who} takes it for {reader}",
        "keep the order and append new elements at the end, with a default"),
    "length": Verdict("LENGTH_CHANGED", "LENGTH_CHANGED",
        "messages written {when} may hold {writer} elements here; {who} expects {reader}",
        _NEW_FIELD, _WORKERS_FIRST),
    "key": Verdict("KEY_TYPE_CHANGED", "KEY_TYPE_CHANGED",
        "messages written {when} may hold keys that are {writer}; {who} expects {reader}",
        f"keep accepting the old keys, {_UPCAST}", _WORKERS_FIRST),
    "repeated": Verdict("UNIQUE_ADDED", "TYPE_WIDENED",
        "messages written {when} may hold the same element twice; {who} reads a set, which loses"
        " one of them", "keep the list and make it unique in the task's code", _WORKERS_FIRST),
    "collapsing": Verdict("TYPE_CHANGED", "TYPE_CHANGED",
        "elements that differ in messages written {when} may become equal once {who} has read"
        " them, and a set loses one of them", "keep the type of the set's elements, or use a list"),
    "open member": Verdict("OPEN_MEMBER_NARROWED", "OPEN_MEMBER_NARROWED",
        "messages written {when} may hold {what} among their undeclared fields, with any value;"
        " {who} declares a type for it",
        "choose a name that cannot have been used yet, or accept any value"),
    "payload": Verdict("PAYLOAD_SHAPE_CHANGED", "PAYLOAD_SHAPE_CHANGED",
        "messages written {when} hold {writer}; {who} expects {reader}",
        "keep the shape, and add new fields to the one structured type, or parameters with a"
        f" default beside several; {_UPCAST}"),
    "keyword": Verdict("UNKNOWN_KEYWORD", "UNKNOWN_KEYWORD",
        "{what} differs, and what that means is not known here; so it counts as a break",
        "keep it as it was"),
    "dropped": Verdict("VALUE_DROPPED", "VALUE_DROPPED",
        "messages written {when} may hold {what}; {who} drops it silently",
        "nothing, if its value is no longer needed", breaks=False),
    "renamed": Verdict("POSSIBLE_RENAME", "POSSIBLE_RENAME",
        "{writer} is gone and {reader} is new: if this is a rename, the value in messages written"
        " {when} is lost", "keep the name in the message (rename=, alias)", breaks=False),
    "default": Verdict("DEFAULT_CHANGED", "DEFAULT_CHANGED",
        "messages written {when} that leave out {what} meant {writer}; {who} takes {reader}",
        "nothing, if the new value is right for old messages too", breaks=False),
    "rounded": Verdict("VALUE_ROUNDED", "VALUE_ROUNDED",
        "messages written {when} may hold {what} here; {who} reads floats, which have 53 bits, and"
        " rounds them", "bound the number below 2**53, or keep int", breaks=False),
    "incomparable": Verdict("CANNOT_COMPARE", "CANNOT_COMPARE",
        "the schemas cannot be compared: {what}; this counts as a break",
        "write the schema with the keywords that docs/compatibility.md lists, "
        f"{_UPCAST}"),
}
# fmt: on
