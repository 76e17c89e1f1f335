"""`edgecap sounds`: lists the taught sounds, and tests, renames, removes, exports and imports them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecap.cli.console import say, table, write
from edgecap.cli.options import Json, Model, Sounds
from edgecap.errors import ConfigError, DataError
from edgecap.util.files import to_json
from edgecap.util.text import clean

sounds = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A taught sound.")]


@sounds.callback()
def listing(
    context: typer.Context,
    folder: Sounds = None,
    test_folder: Annotated[
        Path | None, typer.Option("--test", metavar="FOLDER", help="Say which sounds are heard in its files.")
    ] = None,
    json: Json = False,
) -> None:
    """List the taught sounds, or change them. edgecap teach adds one.

    They lie in the folder EDGECAP_SOUNDS, or else "sounds" in EDGECAP_HOME or in ~/.local/share/edgecap: one file a
    sound, with embeddings, and with recordings only where they were to be kept.
    """
    if context.invoked_subcommand is not None:
        if folder or test_folder or json:
            raise ConfigError(f"options go behind the command: edgecap sounds {context.invoked_subcommand} …")
    elif test_folder is not None:
        try_sounds(test_folder, folder, None, json)
    else:
        list_sounds(folder, json)


@sounds.command("list")
def list_sounds(folder: Sounds = None, json: Json = False) -> None:
    """List the taught sounds."""
    from edgecap.sounds.rates import show_rate
    from edgecap.sounds.store import SoundStore

    store = SoundStore(folder)
    stored = store.load()
    rows = []
    for sound in stored.sounds:
        numbers = [len(sound.examples), len(sound.counter_examples), sound.recordings]
        if json:
            keys = ("examples", "counter_examples", "recordings")
            document = {"name": sound.name, "identifier": sound.identifier, **dict(zip(keys, numbers, strict=True))}
            write(to_json({**document, "false_alarms_per_hour": round(sound.false_alarms, 6), "model": sound.model}))
        rows.append([sound.name, *map(str, numbers), show_rate(sound.false_alarms), sound.created[:10]])
    if rows and not json:
        write("\n".join(table(["NAME", "EXAMPLES", "NOT", "KEPT", "FALSE ALARMS", "TAUGHT"], rows)))
    for fault in stored.faults:
        say("warning", fault)
    if not stored.sounds:
        say("note", f'no sounds in {store.folder}; type: edgecap teach "our doorbell" FILE…')
    if stored.faults:
        raise typer.Exit(DataError.exit_code)


@sounds.command("test")
def try_sounds(
    test_folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of sound files.")],
    folder: Sounds = None,
    model: Model = None,
    json: Json = False,
) -> None:
    """Say which taught sounds are heard in each file of a folder.

    A file lies right in the folder, or in one below it. Where that one has the name of a taught sound, its files are
    recordings of it: how many of them were recognised is printed at the end.
    """
    from edgecap.captioner import Captioner
    from edgecap.teaching.ready import with_taught_sounds
    from edgecap.teaching.trial import try_folder

    captioner = with_taught_sounds(Captioner.load(model), folder, say)
    trial = try_folder(captioner, test_folder, lambda line: None if json else write(line))
    for line in trial.summary(json):
        write(line)


@sounds.command()
def rename(name: Name, new: Annotated[str, typer.Argument(metavar="NEW")], folder: Sounds = None) -> None:
    """Give a sound another name."""
    from edgecap.sounds.store import SoundStore

    write(f"{clean(name)}: now called {SoundStore(folder).rename(name, new).name}")


@sounds.command()
def remove(names: Annotated[list[str], typer.Argument(metavar="NAME…")], folder: Sounds = None) -> None:
    """Forget sounds."""
    from edgecap.sounds.store import SoundStore

    for name in names:
        write(str(SoundStore(folder).remove(name)))


@sounds.command()
def export(
    name: Name,
    target: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="Where to write it.")] = Path(),
    folder: Sounds = None,
) -> None:
    """Write a sound to one file, to be imported on another device."""
    from edgecap.sounds.store import SoundStore

    write(str(SoundStore(folder).export(name, target)))


@sounds.command("import")
def import_sound(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Files that edgecap sounds export wrote.")],
    *,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Another name for it.")] = "",
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a sound of that name.")] = False,
    folder: Sounds = None,
) -> None:
    """Take over sounds that were exported."""
    from edgecap.sounds.store import SoundStore

    if name and len(files) > 1:
        raise ConfigError("--name is for one file; import the files one by one")
    for file in files:
        write(f"{SoundStore(folder).import_file(file, name=name, replace_old=force).name}: imported")
