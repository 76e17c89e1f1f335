"""Words and the AudioSet classes that they tell of.

Two uses. A caption may only be picked for a clip when the tagger hears what the caption's words claim:
AudioCaps' captions so often end in "... and a man speaks" that the consensus would put a man into every
recording. And classes that AudioCaps' own labels leave out (its clips were chosen without music, and of
527 classes it uses 326) get captions: from its texts, where a word proves the class, and from ours.
"""

from __future__ import annotations

from dataclasses import dataclass

VOICES = (
    "Speech", "Male speech, man speaking", "Female speech, woman speaking", "Child speech, kid speaking",
    "Conversation", "Narration, monologue", "Babbling", "Speech synthesizer", "Shout", "Bellow", "Yell", "Whoop",
    "Children shouting", "Screaming", "Whispering", "Chatter", "Hubbub, speech noise, speech babble", "Crowd",
    "Children playing", "Cheering", "Singing", "Chant", "Rapping",
)  # fmt: skip
PEOPLE = (
    *VOICES, "Laughter", "Baby laughter", "Giggle", "Snicker", "Belly laugh", "Chuckle, chortle", "Crying, sobbing",
    "Baby cry, infant cry", "Whimper", "Sigh", "Humming", "Groan", "Grunt", "Whistling", "Breathing", "Wheeze",
    "Snoring", "Gasp", "Pant", "Snort", "Cough", "Throat clearing", "Sneeze", "Sniff", "Run", "Walk, footsteps",
    "Chewing, mastication", "Biting", "Gargling", "Burping, eructation", "Hiccup", "Fart", "Hands", "Finger snapping",
    "Clapping", "Applause", "Typing", "Computer keyboard", "Crumpling, crinkling", "Tearing", "Writing",
)  # fmt: skip
MACHINES = (
    "Engine", "Light engine (high frequency)", "Medium engine (mid frequency)", "Heavy engine (low frequency)",
    "Idling", "Engine starting", "Engine knocking", "Accelerating, revving, vroom", "Vehicle", "Motor vehicle (road)",
    "Car", "Car passing by", "Race car, auto racing", "Truck", "Bus", "Motorcycle", "Traffic noise, roadway noise",
    "Lawn mower", "Chainsaw", "Power tool", "Drill", "Tools", "Aircraft", "Aircraft engine", "Jet engine",
    "Propeller, airscrew", "Helicopter", "Fixed-wing aircraft, airplane", "Boat, Water vehicle",
    "Motorboat, speedboat", "Train", "Mechanical fan", "Vacuum cleaner", "Blender", "Mechanisms", "Air conditioning",
    "Hair dryer", "Sewing machine", "Rail transport", "Subway, metro, underground", "Vibration", "Hum",
)  # fmt: skip
WATER = (
    "Water", "Rain", "Raindrop", "Rain on surface", "Stream", "Waterfall", "Ocean", "Waves, surf", "Steam", "Gurgling",
    "Splash, splatter", "Slosh", "Drip", "Pour", "Trickle, dribble", "Gush", "Fill (with liquid)", "Spray", "Liquid",
    "Water tap, faucet", "Sink (filling or washing)", "Bathtub (filling or washing)", "Toilet flush", "Squish",
    "Boat, Water vehicle", "Motorboat, speedboat", "Rowboat, canoe, kayak", "Sailboat, sailing ship", "Boiling",
    "Pump (liquid)", "Stir", "Rowboat, canoe, kayak",
)  # fmt: skip
BIRDS = (
    "Bird", "Bird vocalization, bird call, bird song", "Chirp, tweet", "Squawk", "Pigeon, dove", "Coo", "Crow", "Caw",
    "Owl", "Hoot", "Bird flight, flapping wings", "Fowl", "Chicken, rooster", "Cluck",
    "Crowing, cock-a-doodle-doo", "Turkey", "Gobble", "Duck", "Quack", "Goose", "Honk",
)  # fmt: skip
INSECTS = ("Insect", "Cricket", "Mosquito", "Fly, housefly", "Buzz", "Bee, wasp, etc.")
GUNS = (
    "Gunshot, gunfire", "Machine gun", "Fusillade", "Artillery fire", "Cap gun", "Explosion", "Fireworks",
    "Firecracker", "Burst, pop", "Boom", "Eruption",
)  # fmt: skip
ALARMS = (
    "Alarm", "Beep, bleep", "Smoke detector, smoke alarm", "Fire alarm", "Buzzer", "Alarm clock", "Telephone",
    "Telephone bell ringing", "Ringtone", "Reversing beeps", "Busy signal", "Dial tone", "Sine wave", "Chirp tone",
    "Ding", "Siren", "Car alarm", "Bicycle bell", "Doorbell", "Ding-dong", "Ping", "Microwave oven",
    "Telephone dialing, DTMF", "Bell", "Pulse",
)  # fmt: skip
SIRENS = (
    "Siren", "Emergency vehicle", "Police car (siren)", "Ambulance (siren)", "Fire engine, fire truck (siren)",
    "Civil defense siren",
)  # fmt: skip
MUSIC_CLASSES = (
    "Music", "Musical instrument", "Singing", "Plucked string instrument", "Keyboard (musical)", "Percussion",
)  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """What words with one of these beginnings claim to be heard."""

    stems: tuple[str, ...]
    """Beginnings of words; one that ends in a space stands for the whole word."""
    classes: tuple[str, ...]
    """Any one of these classes supports the claim."""
    least: float = 0.1
    """Score from which on it does."""


CLAIMS = (
    # idioms of single annotators, and guesses at what cannot be heard: no score supports them
    Claim(("silence", "silent", "giving ", "gives ", "foreign", "language", "whoosh", "something", "sound",
           "noises "), ()),
    Claim(("speak", "speech", "spoke", "talk", "conversation", "convers", "says ", "saying ", "voice", "narrat", "chat",
           "shout", "yell", "scream"), VOICES, 0.15),
    Claim(("man ", "men ", "woman ", "women ", "male ", "female ", "person ", "people ", "child ", "children ", "boy",
           "girl", "kid ", "kids ", "guy", "lady ", "adult", "someone ", "crowd", "audience", "group"), PEOPLE, 0.12),
    Claim(("music", "song", "melod", "instrument", "guitar", "piano", "violin", "flute", "organ "),
          MUSIC_CLASSES, 0.15),
    Claim(("drum",), (*MUSIC_CLASSES, "Drum", "Drum kit", "Snare drum", "Thump, thud"), 0.15),
    Claim(("sing ", "sings ", "singing ", "choir"),
          ("Singing", "Choir", "Vocal music", "A capella", "Chant", "Music"), 0.15),
    Claim(("laugh", "giggl", "chuckl"), ("Laughter", "Baby laughter", "Giggle", "Snicker", "Belly laugh",
                                        "Chuckle, chortle"), 0.1),
    Claim(("baby", "infant", "toddler"), ("Baby cry, infant cry", "Baby laughter", "Babbling", "Crying, sobbing",
                                         "Child speech, kid speaking"), 0.1),
    Claim(("cry", "cries ", "sob"), ("Crying, sobbing", "Baby cry, infant cry", "Whimper", "Wail, moan"), 0.08),
    Claim(("dog", "bark", "puppy", "puppies ", "growl"), ("Dog", "Bark", "Bow-wow", "Growling", "Whimper (dog)", "Howl",
                                                       "Yip", "Canidae, dogs, wolves"), 0.1),
    Claim(("cat ", "cats ", "kitten", "meow", "purr"), ("Cat", "Meow", "Purr", "Caterwaul"), 0.1),
    Claim(("bird", "chirp", "tweet", "pigeon", "coo ", "coos ", "cooing ", "duck", "quack", "goose", "geese ",
           "rooster", "chicken", "cluck", "crow "), (*BIRDS, "Cricket", "Insect", "Animal", "Wild animals"), 0.1),
    Claim(("sheep", "goat", "bleat", "baa", "lamb"), ("Sheep", "Goat", "Bleat"), 0.1),
    Claim(("cow ", "cows ", "moo", "cattle"), ("Cattle, bovinae", "Moo"), 0.1),
    Claim(("horse", "neigh", "trot", "gallop", "hoof", "hooves", "clop"), ("Horse", "Neigh, whinny", "Clip-clop"), 0.1),
    Claim(("pig ", "pigs ", "oink"), ("Pig", "Oink"), 0.1),
    Claim(("frog", "croak"), ("Frog", "Croak"), 0.1),
    Claim(("insect", "bee ", "bees ", "fly ", "flies ", "mosquito", "cricket", "wasp"), (*INSECTS, "Animal"), 0.1),
    Claim(("wind ", "windy ", "breeze"), ("Wind", "Wind noise (microphone)", "Rustling leaves", "Wind chime",
                                        "Wind instrument, woodwind instrument"), 0.08),
    Claim(("rain",), ("Rain", "Raindrop", "Rain on surface", "Thunderstorm"), 0.08),
    Claim(("thunder",), ("Thunder", "Thunderstorm"), 0.08),
    Claim(("water", "splash", "liquid", "drip", "gurgl", "trickl", "pour", "faucet", "river", "stream"), WATER, 0.08),
    Claim(("wave ", "waves ", "ocean", "surf", "sea "), ("Ocean", "Waves, surf", "Boat, Water vehicle"), 0.08),
    Claim(("toilet", "flush"), ("Toilet flush",), 0.08),
    Claim(("train", "railroad", "subway"), ("Train", "Train whistle", "Train horn", "Railroad car, train wagon",
                                           "Rail transport", "Subway, metro, underground", "Train wheels squealing",
                                           "Steam whistle"), 0.1),
    Claim(("siren", "ambulance", "police", "emergency"), SIRENS, 0.1),
    Claim(("engine", "motor", "vehicle", "car ", "cars ", "truck", "traffic", "rev ", "revs ", "revving "),
          (*MACHINES, *SIRENS, "Skidding", "Vehicle horn, car horn, honking"), 0.1),
    Claim(("helicopter",), ("Helicopter", "Aircraft"), 0.1),
    Claim(("plane", "airplane", "aircraft", "jet "), ("Aircraft", "Aircraft engine", "Jet engine",
                                                 "Propeller, airscrew", "Helicopter",
                                                 "Fixed-wing aircraft, airplane"), 0.1),
    Claim(("gun", "shot", "shoot", "explo", "firework"), GUNS, 0.1),
    Claim(("clock", "tick "), ("Clock", "Tick", "Tick-tock", "Alarm clock", "Mechanisms"), 0.1),
    Claim(("typing", "types ", "keyboard", "typewriter"), ("Typing", "Computer keyboard", "Typewriter",
                                                         "Keyboard (musical)"), 0.1),
    Claim(("snor",), ("Snoring", "Snort", "Breathing"), 0.1),
    Claim(("sneez",), ("Sneeze",), 0.1),
    Claim(("cough",), ("Cough", "Throat clearing"), 0.1),
    Claim(("burp", "belch"), ("Burping, eructation",), 0.1),
    Claim(("whistl",), ("Whistling", "Whistle", "Steam whistle", "Train whistle", "Bird"), 0.1),
    Claim(("applau", "clap", "cheer"), ("Applause", "Clapping", "Cheering", "Crowd"), 0.1),
    Claim(("beep", "alarm", "phone", "telephone", "ringing "), (*ALARMS, *SIRENS), 0.1),
    Claim(("sizzl", "frying", "fry ", "fries "), ("Sizzle", "Frying (food)"), 0.08),
    Claim(("footstep", "walk"), ("Walk, footsteps", "Run", "Clip-clop", "Horse", "Shuffle"), 0.1),
    Claim(("saw ", "sawing "), ("Sawing", "Tools", "Chainsaw", "Filing (rasp)", "Sanding", "Power tool", "Wood"), 0.1),
)

_PROVEN_BY = {
    "Cattle, bovinae": "cow cows", "Moo": "moo moos mooing", "Crowing, cock-a-doodle-doo": "rooster roosters crowing",
    "Chicken, rooster": "chicken chickens", "Cluck": "clucking clucks cluck", "Caw": "cawing caws", "Crow": "crows",
    "Owl": "owl", "Turkey": "turkey", "Cough": "cough coughs coughing", "Knock": "knock knocks knocking",
    "Glass": "glass", "Shatter": "shatters shattering", "Walk, footsteps": "footsteps walking",
    "Fireworks": "fireworks", "Firecracker": "firecrackers", "Crackle": "crackling crackles crackle", "Fire": "fire",
    "Vacuum cleaner": "vacuum", "Cricket": "crickets cricket", "Breathing": "breathing breathes",
    "Chainsaw": "chainsaw", "Blender": "blender", "Camera": "camera", "Keys jangling": "keys",
    "Coin (dropping)": "coins", "Scissors": "scissors", "Zipper (clothing)": "zipper", "Printer": "printer",
    "Waterfall": "waterfall", "Chime": "chime chimes", "Doorbell": "doorbell", "Thunder": "thunder",
    "Chewing, mastication": "chewing eating", "Explosion": "explosion", "Hammer": "hammering hammer",
    "Sawing": "sawing", "Drill": "drill drilling", "Roar": "elephant roar", "Howl": "howling howls",
    "Purr": "purring purrs", "Roaring cats (lions, tigers)": "lion", "Wild animals": "monkey", "Snake": "snake",
    "Rattle": "rattle", "Squeak": "squeak squeaking squeaks", "Creak": "creaking creaks creak", "Bicycle": "bicycle",
    "Skateboard": "skateboard", "Basketball bounce": "basketball bouncing", "Music": "music", "Guitar": "guitar",
    "Piano": "piano", "Drum": "drum drums", "Violin, fiddle": "violin", "Flute": "flute", "Organ": "organ",
    "Harmonica": "harmonica", "Trumpet": "trumpet", "Singing": "singing sings sing", "Choir": "choir",
    "Bell": "bell bells", "Static": "static", "Echo": "echo echoes",
}  # fmt: skip
PROOF = {word: name for name, words in _PROVEN_BY.items() for word in words.split()}
"""Words that prove a class which the labels of a caption's clip may leave out."""
