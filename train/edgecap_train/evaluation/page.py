"""One page with every recording that was captioned: player, spectrogram, human captions and the model's side by side.

The page holds everything itself: pictures always, sounds unless they are linked. It shows recordings that may not be
published, so it is written only where its user says and requests nothing from a network.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib.image

from edgecap.audio.frontend import FrontEnd, log_mel
from edgecap.types import LogMel, Waveform
from edgecap_train.evaluation.metrics import Metric

MEDIA = {
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".mp3": "audio/mpeg",
}
"""What browsers play; other recordings are linked."""
SHOWN_DECIBELS = 80.0
"""Range of a spectrogram's colours below its maximum, or the front end's own where it has logarithms of magnitudes."""

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.45 system-ui, sans-serif }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 } th, td { text-align: left; padding: .2rem .9rem .2rem 0 }
article { display: grid; grid-template-columns: 22rem 1fr; gap: 0 1.5rem; border-top: 1px solid #8886; padding: 1rem 0 }
img { width: 22rem; height: 8rem; image-rendering: auto; display: block } audio { width: 22rem }
.said { font-weight: 600 } .score { float: right; font-variant-numeric: tabular-nums } ul { margin: .3rem 0 }
.name { color: #888; overflow-wrap: anywhere } @media (max-width: 50rem) { article { grid-template-columns: 1fr } }
"""


@dataclass(frozen=True)
class PageRow:
    """One recording on the page."""

    file: Path
    samples: Waveform
    """What the model captioned, (n,) at the front end's rate."""
    references: tuple[str, ...]
    captions: dict[str, str]
    """Model → its caption."""
    scores: dict[str, float]
    """Metric → score of this clip."""


def page(
    title: str,
    metrics: dict[str, Metric],
    entries: Sequence[PageRow],
    front_end: FrontEnd,
    *,
    notes: Sequence[str] = (),
    audio: Literal["embed", "link"] = "embed",
) -> str:
    """The whole page as HTML, the worst clips first: by CIDEr-D, or by ROUGE-L where there is none."""
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{m.mean:.3f}</td><td>[{m.low:.3f}, {m.high:.3f}]</td></tr>"
        for name, m in metrics.items()
    )
    decisive, name_of_it = ("cider_d", "CIDEr-D") if "CIDEr-D" in metrics else ("rouge_l", "ROUGE-L")
    ordered = sorted(entries, key=lambda entry: entry.scores.get(decisive, 0.0))
    articles = "".join(_article(entry, front_end, audio) for entry in ordered)
    remarks = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{html.escape(title)}</h1><table><tr><th>metric</th><th>mean</th><th>95 % interval</th></tr>{rows}</table>"
        f"{remarks}<p>{len(entries)} recordings, the worst by {name_of_it} first.</p>{articles}</body></html>\n"
    )


def _article(entry: PageRow, front_end: FrontEnd, audio: Literal["embed", "link"]) -> str:
    picture = base64.b64encode(spectrogram_png(log_mel(entry.samples, front_end), front_end)).decode()
    captions = "".join(
        f'<p class="said" title="{html.escape(model, quote=True)}">{html.escape(text)}</p>'
        for model, text in entry.captions.items()
    )
    people = "".join(f"<li>{html.escape(text)}</li>" for text in entry.references)
    score = " ".join(f"{name} {value:.2f}" for name, value in entry.scores.items())
    return (
        f'<article><div><img alt="spectrogram" src="data:image/png;base64,{picture}">'
        f'<audio controls preload="none" src="{html.escape(_source(entry.file, audio), quote=True)}"></audio></div>'
        f'<div><span class="score">{html.escape(score)}</span>{captions}<ul>{people}</ul>'
        f'<span class="name">{html.escape(entry.file.name)}</span></div></article>'
    )


def _source(file: Path, audio: Literal["embed", "link"]) -> str:
    media = MEDIA.get(file.suffix.lower())
    if audio == "link" or media is None:
        return file.resolve().as_uri()
    return f"data:{media};base64,{base64.b64encode(file.read_bytes()).decode()}"


def spectrogram_png(spectrogram: LogMel, front_end: FrontEnd) -> bytes:
    """A log-mel spectrogram (n_mels, T) as a PNG of T x n_mels points, low bands at the bottom."""
    top = float(spectrogram.max(initial=front_end.silence))
    bottom = front_end.silence
    if front_end.compression == "decibel":
        bottom = max(bottom, top - SHOWN_DECIBELS)
    image = io.BytesIO()
    matplotlib.image.imsave(
        image, spectrogram, vmin=bottom, vmax=max(top, bottom + 1e-6), cmap="magma", origin="lower", format="png"
    )
    return image.getvalue()
