"""The user's own taught sounds for a captioner; what teaching needs is loaded only where there are some."""

from __future__ import annotations

from edgecap.captioner import Captioner
from edgecap.sounds.store import sounds_folder
from edgecap.types import Notify


def with_own_sounds(captioner: Captioner, notify: Notify) -> Captioner:
    """The captioner with the sounds of `sounds_folder()`, or itself where nothing was taught.

    Raises and notifies as `edgecap.teaching.ready.with_taught_sounds`.
    """
    if not sounds_folder().is_dir():
        return captioner
    from edgecap.teaching.ready import with_taught_sounds

    return with_taught_sounds(captioner, None, notify)
