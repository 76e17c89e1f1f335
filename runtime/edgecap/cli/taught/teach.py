"""`edgecap teach`: learns a sound from recordings or from the microphone."""

from __future__ import annotations

from typing import Annotated

import typer

from edgecap.cli.console import say, write
from edgecap.cli.options import Json, Model, Sounds
from edgecap.util.files import to_json

RATE = "1/day"


def teach(
    name: Annotated[str, typer.Argument(metavar="NAME", help='What to call the sound: "our doorbell".')],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]…", help="Recordings of it: one works, five suffice.")
    ] = None,
    *,
    listen: Annotated[bool, typer.Option("--listen", help="Record examples from the microphone.")] = False,
    device: Annotated[
        str | None, typer.Option("--device", "-d", metavar="NAME|NUMBER", help="Microphone. [default: the system's]")
    ] = None,
    examples: Annotated[
        int, typer.Option("--examples", min=1, max=20, metavar="N", help="Examples that --listen records.")
    ] = 4,
    other: Annotated[
        list[str] | None, typer.Option("--not", metavar="FILE", help="What is not this sound, though like it; repeat.")
    ] = None,
    false_alarms: Annotated[
        str,
        typer.Option("--false-alarms", metavar="N/UNIT", help="How often it may be reported wrongly: 1/day, 1/hour."),
    ] = RATE,
    more: Annotated[bool, typer.Option("--more", help="Add examples to the sound of that name.")] = False,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace a sound of that name; learn against advice.")
    ] = False,
    keep_examples: Annotated[
        bool, typer.Option("--keep-examples", help="Keep the recordings too, so that another model can learn it again.")
    ] = False,
    sounds: Sounds = None,
    model: Model = None,
    json: Json = False,
) -> None:
    """Teach a sound, which captions and events then name.

    Only embeddings of the recordings are stored, on this device, unless --keep-examples is given.

    \b
    Examples:
      edgecap teach "our doorbell" doorbell1.wav doorbell2.m4a
      edgecap teach "our doorbell" --listen
      edgecap teach "our doorbell" --more --not phone.wav
    """
    from edgecap.captioner import Captioner
    from edgecap.errors import ConfigError
    from edgecap.sounds.rates import parse_rate
    from edgecap.sounds.store import SoundStore
    from edgecap.teaching.examples import SoundExample, read_examples
    from edgecap.teaching.lesson import TeachRequest, teach_sound

    files, other = files or [], other or []
    if not (files or listen or (more and other)):
        raise ConfigError(f'there is nothing to learn from; type: edgecap teach "{name}" FILE…, or add --listen')
    request = TeachRequest(name, parse_rate(false_alarms), more=more, force=force, keep=keep_examples)
    store = SoundStore(sounds)
    request.check(store)
    captioner = Captioner.load(model)
    heard = list[SoundExample](read_examples(captioner, files))
    if listen:
        from edgecap.cli.taught.recording import record_examples

        heard += record_examples(captioner, device, examples)
    lesson = teach_sound(captioner, store, request, heard, read_examples(captioner, other))
    for note in lesson.notes:
        say("note", note)
    sound = lesson.sound
    if json:
        write(to_json({"name": sound.name, "identifier": sound.identifier, "examples": len(sound.examples)}))
    else:
        write(f"{sound.name}: learnt from {len(sound.examples)} example{'s' * (len(sound.examples) != 1)}")
