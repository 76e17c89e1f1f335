"""Many sounds in a row: the next ones are decoded meanwhile, and the windows of several share a search."""

from edgecap.batching.batch_captioner import BatchCaptioner, CaptionedSound, CaptionedWindow, SoundEnd

__all__ = ["BatchCaptioner", "CaptionedSound", "CaptionedWindow", "SoundEnd"]
