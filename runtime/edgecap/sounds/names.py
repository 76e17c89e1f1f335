"""Names of sounds, in any script, and the identifiers that topics, entities and file names have for them."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from edgecap.errors import ConfigError
from edgecap.util.text import clean

LONGEST_NAME = 60
"""Characters of a name."""
LONGEST_IDENTIFIER = 40
INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
"""Letters and marks that show nothing: fillers and joiners of other encodings."""
_SPACES = re.compile(r"[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
_CHECKSUM = re.compile(r"(.*-)?[0-9a-f]{8}")


def shown_name(name: str) -> str:
    """A name as it is stored and shown: composed (NFC), with single spaces.

    Raises ConfigError for one that is empty or too long, or holds what cannot be seen: control characters, marks that
    turn the direction of writing, unassigned ones. Joiners are allowed inside words, as Persian and Hindi need them.
    """
    shown = " ".join(part for part in _SPACES.split(unicodedata.normalize("NFC", name)) if part)
    visible = any(unicodedata.category(sign)[0] in "LNSP" for sign in shown)
    if not visible or shown != clean(shown) or len(shown) > LONGEST_NAME or INVISIBLE.intersection(shown):
        raise ConfigError(
            f"the name of a sound has 1 to {LONGEST_NAME} printable characters, not "
            f'{clean(name)[:LONGEST_NAME]!r}; type: edgecap teach "our doorbell" FILE'
        )
    return shown


def identifier_of(name: str) -> str:
    """The identifier of a name: "Our doorbell" → "our-doorbell"; lower-case letters, digits and hyphens.

    It stays the same for ever. Names that differ only in case, accents, spaces and signs are one name and have one
    identifier. What has letters beside the Latin ones, or is cut, ends with a checksum of the name, so that "門鈴" and
    "犬" have different ones. Raises ConfigError for a name that cannot be used.
    """
    name = folded(shown_name(name))
    signs = [sign for sign in unicodedata.normalize("NFKD", name) if not unicodedata.category(sign).startswith("M")]
    words = re.sub(r"[^a-z0-9]+", "-", "".join(signs)).strip("-")
    short = words[:LONGEST_IDENTIFIER].strip("-")
    foreign = any(not sign.isascii() and sign.isalnum() for sign in signs)
    if short and short == words and not foreign and not _CHECKSUM.fullmatch(short):
        return short
    return f"{short[: LONGEST_IDENTIFIER - 9].strip('-') or 'sound'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def folded(name: str) -> str:
    """A name as it is compared, whatever keyboard wrote it: composed, without the difference of case."""
    return unicodedata.normalize("NFC", name.casefold())


def is_same(wanted: str, name: str, identifier: str) -> bool:
    """Whether a name that a user wrote is that of a sound, or its identifier."""
    return folded(wanted) in {folded(name), identifier}
