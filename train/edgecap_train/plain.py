"""Captions of our own: one plain sound, in AudioCaps' manner.

AudioCaps chose its clips by 326 of AudioSet's 527 classes, mostly with somebody speaking. A cow, a knock
on wood or a piano alone has no caption there, and the nearest one would be false. These few hundred
sentences are the project's own.
"""

from __future__ import annotations

from edgecap_train.captions import LabelledCaption, tokenize

INSTRUMENTS = {
    "a piano": "Piano", "an electric piano": "Electric piano", "a guitar": "Guitar",
    "an acoustic guitar": "Acoustic guitar",
    "an electric guitar": "Electric guitar", "a bass guitar": "Bass guitar", "a banjo": "Banjo", "a sitar": "Sitar",
    "a mandolin": "Mandolin", "an organ": "Organ", "a keyboard": "Keyboard (musical)", "a synthesizer": "Synthesizer",
    "a harpsichord": "Harpsichord", "a drum": "Drum", "a snare drum": "Snare drum", "a bass drum": "Bass drum",
    "a drum kit": "Drum kit", "a drum machine": "Drum machine", "a cymbal": "Cymbal", "a hi-hat": "Hi-hat",
    "a tambourine": "Tambourine", "maracas": "Maraca", "a gong": "Gong", "a tubular bell": "Tubular bells",
    "a marimba": "Marimba, xylophone", "a xylophone": "Marimba, xylophone", "a glockenspiel": "Glockenspiel",
    "a vibraphone": "Vibraphone", "a trumpet": "Trumpet", "a trombone": "Trombone", "a french horn": "French horn",
    "a violin": "Violin, fiddle", "a cello": "Cello", "a double bass": "Double bass", "a flute": "Flute",
    "a saxophone": "Saxophone", "a clarinet": "Clarinet", "a harp": "Harp", "an accordion": "Accordion",
    "a harmonica": "Harmonica", "a bagpipe": "Bagpipes", "an orchestra": "Orchestra", "a choir": "Choir",
    "an oboe": "Wind instrument, woodwind instrument", "a ukulele": "Ukulele", "a church organ": "Organ",
    "a wind chime": "Wind chime",
}  # fmt: skip


SOUNDS = (
    # who or what, verb, -ing form, classes
    ("a cow", "moos", "mooing", ("Cattle, bovinae", "Moo")),
    ("a sheep", "bleats", "bleating", ("Sheep", "Bleat")),
    ("a goat", "bleats", "bleating", ("Goat", "Bleat")),
    ("a dog", "barks", "barking", ("Dog", "Bark")),
    ("a dog", "howls", "howling", ("Dog", "Howl")),
    ("a dog", "growls", "growling", ("Dog", "Growling")),
    ("a dog", "whimpers", "whimpering", ("Dog", "Whimper (dog)")),
    ("a cat", "meows", "meowing", ("Cat", "Meow")),
    ("a cat", "purrs", "purring", ("Cat", "Purr")),
    ("a horse", "neighs", "neighing", ("Horse", "Neigh, whinny")),
    ("a horse", "trots", "trotting", ("Horse", "Clip-clop")),
    ("a pig", "oinks", "oinking", ("Pig", "Oink")),
    ("a rooster", "crows", "crowing", ("Chicken, rooster", "Crowing, cock-a-doodle-doo")),
    ("a chicken", "clucks", "clucking", ("Chicken, rooster", "Cluck")),
    ("a turkey", "gobbles", "gobbling", ("Turkey", "Gobble")),
    ("a duck", "quacks", "quacking", ("Duck", "Quack")),
    ("a goose", "honks", "honking", ("Goose", "Honk")),
    ("a crow", "caws", "cawing", ("Crow", "Caw")),
    ("an owl", "hoots", "hooting", ("Owl", "Hoot")),
    ("seagulls", "squawk", "squawking", ("Squawk", "Bird")),
    ("birds", "chirp", "chirping", ("Bird", "Chirp, tweet", "Bird vocalization, bird call, bird song")),
    ("a pigeon", "coos", "cooing", ("Pigeon, dove", "Coo")),
    ("a frog", "croaks", "croaking", ("Frog", "Croak")),
    ("crickets", "chirp", "chirping", ("Cricket", "Insect")),
    ("an insect", "buzzes", "buzzing", ("Insect", "Fly, housefly")),
    ("bees", "buzz", "buzzing", ("Bee, wasp, etc.", "Insect")),
    ("a mosquito", "buzzes", "buzzing", ("Mosquito", "Insect")),
    ("a snake", "hisses", "hissing", ("Snake", "Hiss")),
    ("a lion", "roars", "roaring", ("Roaring cats (lions, tigers)", "Roar")),
    ("a man", "speaks", "speaking", ("Speech", "Male speech, man speaking")),
    ("a woman", "speaks", "speaking", ("Speech", "Female speech, woman speaking")),
    ("a child", "speaks", "speaking", ("Speech", "Child speech, kid speaking")),
    ("people", "talk", "talking", ("Conversation", "Chatter", "Hubbub, speech noise, speech babble")),
    ("a crowd", "cheers", "cheering", ("Cheering", "Crowd")),
    ("people", "applaud", "applauding", ("Applause", "Clapping")),
    ("a person", "claps", "clapping", ("Clapping", "Hands")),
    ("a person", "laughs", "laughing", ("Laughter",)),
    ("a baby", "laughs", "laughing", ("Baby laughter",)),
    ("a baby", "cries", "crying", ("Baby cry, infant cry", "Crying, sobbing")),
    ("a person", "screams", "screaming", ("Screaming",)),
    ("a person", "shouts", "shouting", ("Shout",)),
    ("a person", "whispers", "whispering", ("Whispering",)),
    ("a person", "sings", "singing", ("Singing",)),
    ("a choir", "sings", "singing", ("Choir", "Singing")),
    ("a person", "whistles", "whistling", ("Whistling", "Whistle")),
    ("a person", "breathes", "breathing", ("Breathing",)),
    ("a person", "snores", "snoring", ("Snoring",)),
    ("a person", "coughs", "coughing", ("Cough",)),
    ("a person", "sneezes", "sneezing", ("Sneeze",)),
    ("a person", "sniffs", "sniffing", ("Sniff",)),
    ("a person", "burps", "burping", ("Burping, eructation",)),
    ("a person", "chews", "chewing", ("Chewing, mastication", "Biting")),
    ("a person", "gargles", "gargling", ("Gargling",)),
    ("a person", "walks", "walking", ("Walk, footsteps",)),
    ("a person", "runs", "running", ("Run", "Walk, footsteps")),
    ("a person", "knocks on a door", "knocking on a door", ("Knock", "Door")),
    ("a person", "types on a keyboard", "typing on a keyboard", ("Typing", "Computer keyboard")),
    ("a person", "hammers", "hammering", ("Hammer",)),
    ("a person", "saws wood", "sawing wood", ("Sawing",)),
    ("a door", "creaks", "creaking", ("Creak", "Door")),
    ("a door", "slams", "slamming", ("Slam", "Door")),
    ("a door bell", "rings", "ringing", ("Doorbell", "Ding-dong")),
    ("glass", "breaks", "breaking", ("Shatter", "Glass", "Breaking")),
    ("dishes", "clink", "clinking", ("Dishes, pots, and pans", "Chink, clink", "Cutlery, silverware")),
    ("coins", "jingle", "jingling", ("Coin (dropping)", "Jingle, tinkle")),
    ("keys", "jangle", "jangling", ("Keys jangling",)),
    ("a zipper", "is pulled", "being pulled", ("Zipper (clothing)",)),
    ("a camera", "clicks", "clicking", ("Camera", "Single-lens reflex camera")),
    ("a printer", "runs", "running", ("Printer",)),
    ("a telephone", "rings", "ringing", ("Telephone", "Telephone bell ringing", "Ringtone")),
    ("an alarm clock", "beeps", "beeping", ("Alarm clock", "Alarm", "Beep, bleep")),
    ("an alarm", "sounds", "sounding", ("Alarm", "Fire alarm", "Buzzer")),
    ("a smoke alarm", "beeps", "beeping", ("Smoke detector, smoke alarm", "Beep, bleep")),
    ("a clock", "ticks", "ticking", ("Clock", "Tick-tock", "Tick")),
    ("a church bell", "rings", "ringing", ("Church bell", "Bell", "Change ringing (campanology)")),
    ("a bell", "rings", "ringing", ("Bell",)),
    ("wind chimes", "ring", "ringing", ("Wind chime", "Chime")),
    ("a siren", "wails", "wailing", ("Siren", "Emergency vehicle")),
    ("a car horn", "honks", "honking", ("Vehicle horn, car horn, honking",)),
    ("a train horn", "blows", "blowing", ("Train horn", "Train")),
    ("a train", "passes by", "passing by", ("Train", "Rail transport", "Railroad car, train wagon")),
    ("a car", "passes by", "passing by", ("Car passing by", "Car", "Vehicle")),
    ("a motorcycle", "drives by", "driving by", ("Motorcycle",)),
    ("an engine", "idles", "idling", ("Idling", "Engine")),
    ("an engine", "revs", "revving", ("Accelerating, revving, vroom", "Engine")),
    ("an engine", "starts", "starting", ("Engine starting", "Engine")),
    ("an engine", "runs", "running", ("Engine", "Medium engine (mid frequency)")),
    ("a helicopter", "flies", "flying", ("Helicopter",)),
    ("an airplane", "flies overhead", "flying overhead", ("Fixed-wing aircraft, airplane", "Aircraft", "Jet engine")),
    ("a boat", "moves through water", "moving through water", ("Boat, Water vehicle", "Motorboat, speedboat")),
    ("a chainsaw", "runs", "running", ("Chainsaw",)),
    ("a lawn mower", "runs", "running", ("Lawn mower",)),
    ("a vacuum cleaner", "runs", "running", ("Vacuum cleaner",)),
    ("a hair dryer", "runs", "running", ("Hair dryer",)),
    ("a blender", "runs", "running", ("Blender",)),
    ("a sewing machine", "runs", "running", ("Sewing machine",)),
    ("a washing machine", "runs", "running", ("Mechanisms", "Hum")),
    ("a drill", "whirs", "whirring", ("Drill", "Power tool")),
    ("an electric toothbrush", "buzzes", "buzzing", ("Electric toothbrush",)),
    ("a person", "brushes teeth", "brushing teeth", ("Toothbrush",)),
    ("a fan", "blows", "blowing", ("Mechanical fan", "Air conditioning")),
    ("rain", "falls", "falling", ("Rain", "Raindrop", "Rain on surface")),
    ("thunder", "rumbles", "rumbling", ("Thunder", "Thunderstorm")),
    ("wind", "blows", "blowing", ("Wind",)),
    ("ocean waves", "crash", "crashing", ("Ocean", "Waves, surf")),
    ("a stream", "flows", "flowing", ("Stream", "Gurgling")),
    ("a waterfall", "roars", "roaring", ("Waterfall",)),
    ("water", "runs from a faucet", "running from a faucet", ("Water tap, faucet", "Sink (filling or washing)")),
    ("water", "is poured", "being poured", ("Pour", "Liquid")),
    ("water", "drips", "dripping", ("Drip",)),
    ("water", "splashes", "splashing", ("Splash, splatter", "Water")),
    ("water", "boils", "boiling", ("Boiling",)),
    ("a toilet", "flushes", "flushing", ("Toilet flush",)),
    ("food", "sizzles in a pan", "sizzling in a pan", ("Sizzle", "Frying (food)")),
    ("a fire", "crackles", "crackling", ("Fire", "Crackle")),
    ("leaves", "rustle", "rustling", ("Rustling leaves", "Rustle")),
    ("paper", "crinkles", "crinkling", ("Crumpling, crinkling",)),
    ("paper", "tears", "tearing", ("Tearing",)),
    ("fireworks", "explode", "exploding", ("Fireworks", "Firecracker")),
    ("a gun", "fires", "firing", ("Gunshot, gunfire",)),
    ("a machine gun", "fires", "firing", ("Machine gun", "Fusillade")),
    ("an explosion", "booms", "booming", ("Explosion", "Boom")),
    ("a ball", "bounces", "bouncing", ("Basketball bounce",)),
    ("steam", "hisses", "hissing", ("Steam", "Hiss")),
    ("a sword", "clangs", "clanging", ("Clang",)),
)  # fmt: skip
MUSIC = ("music is playing", "music plays", "music is being played", "a song is playing", "instrumental music plays")
NOISE = ("static noise", "loud static", "static noise hisses", "a constant hiss of static")
NOISE_CLASSES = ("White noise", "Pink noise", "Static")
PLURAL = frozenset({"birds", "crickets", "bees", "people", "dishes", "coins", "keys", "leaves", "fireworks", "seagulls",
                    "wind chimes", "ocean waves", "maracas"})  # fmt: skip


def plain_captions() -> list[LabelledCaption]:
    """Several captions for each sound, instrument and noise, with the classes that each is about."""
    made = []
    for who, verb, doing, classes in SOUNDS:
        be = "are" if who in PLURAL else "is"
        said = (verb, doing, f"{be} {doing}", f"{verb} nearby", f"{doing} nearby")
        texts = [f"{who} {what}" for what in said]
        made += [LabelledCaption("", tokenize(text), classes) for text in texts]
    for instrument, label in INSTRUMENTS.items():
        be = "are" if instrument in PLURAL else "is"
        texts = [f"{instrument} {be} playing", f"{instrument} {be} being played", f"music is playing on {instrument}"]
        made += [LabelledCaption("", tokenize(text), (label, "Musical instrument", "Music")) for text in texts]
    made += [LabelledCaption("", tokenize(text), ("Music",)) for text in MUSIC]
    made += [LabelledCaption("", tokenize(text), (label,)) for text in NOISE for label in NOISE_CLASSES]
    return made
