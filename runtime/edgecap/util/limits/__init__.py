"""Largest numbers of everything that strangers decide, by files, requests or answers.

They are far above what any model or listener needs, and small enough for a board.

docs/limits.md lists them for people; a test holds the two together.
"""

from __future__ import annotations

import os

MOST_WORDS = 200_000
"""Of a vocabulary."""
LARGEST_BEAM = 32
MOST_NESTED = 64
"""Levels of lists and tables in each other; deeper ones would end whatever walks through them."""
MOST_FILES = 100
"""Files of a bundle."""
MOST_WINDOW_SECONDS = 600.0
MOST_VALUES = 1 << 26
"""Numbers in one array: log-mel of a window, a decoder's cache for the largest beam (256 MiB)."""
MOST_WEIGHTS = 500_000_000
"""Numbers in the matrices of a network that is built from a configuration."""
MOST_WORD = 100
"""Characters of a word of a vocabulary."""
MOST_VOCABULARY = 16 << 20
"""Bytes of a vocabulary's file."""
MOST_SETTINGS = 1 << 20
"""Bytes of archive.json."""
MOST_CONFIGURATION = 1 << 20
"""Bytes of the configuration of a listener."""
MOST_TABLE = 1 << 30
"""Bytes of a table of sources."""
MOST_SHARD = 4 << 30
"""Bytes of a file of an archive."""
MOST_ROWS = 20_000_000
"""Rows of a Parquet file."""
MOST_UNPACKED = 1 << 30
"""Bytes of one column of a small Parquet file when it is unpacked."""
MOST_NOTES = 1 << 20
"""Bytes of a small file that edgecap wrote itself: what was pulled from where, a lasting name, a unit."""
MOST_ADDRESS = 4_096
"""Characters of the address of a source."""
REQUESTS_AT_ONCE, REQUESTS_EACH_SECOND = 200, 50
"""Of one address to a server: a page takes thirty."""
MOST_ADDRESSES = 1_000
"""Of which a server knows how much they asked for."""

# Bundles, checkpoints and what is pulled
MOST_MANIFEST = 1 << 20
"""Bytes of a manifest; real ones have a few thousand."""
MOST_CONFIDENCE = 1 << 21
"""Bytes of a bundle's confidence; real ones have about a tenth of a megabyte."""
MOST_SOUND_SOURCES = 400
"""Main sources that a confidence tells apart."""
MOST_CATALOGUE = 1 << 20
"""Bytes of a catalogue."""
MOST_MODEL_FILE = 2_000_000_000
"""Bytes of any file that is got where nothing says less."""
MOST_PINS = 16 << 20
"""Bytes of the hashes of places that state none."""
MOST_ORIGIN = 1 << 20
"""Bytes of the note where a model came from."""
MOST_PICKLE = 1 << 20
"""Bytes of the table in a PyTorch checkpoint; a published student's has 60,000."""
MOST_HEADER = 1 << 22
"""Bytes of the header of a safetensors file; a published student's has 64,000."""
MOST_TENSORS = 20_000
MOST_AXES = 8
"""Of a tensor."""
MOST_DIRECTORY = 1 << 20
"""Bytes of the directory of a zip archive. An entry takes 46 and its name, and ten times that in memory."""

# Sounds and what is taught
MOST_CHANNELS = 64
"""Of a sound."""
MOST_SPOOLED = 4 << 30
"""Bytes taken from standard input: the largest size of a WAV file."""
MOST_TAUGHT = 64 << 20
"""Bytes of the file of a taught sound, and of its arrays together."""
MOST_TAUGHT_DOCUMENT = 1 << 18
"""Bytes of the document in it."""
MOST_TAUGHT_ARRAYS = 1_000
MOST_EXAMPLES = 50
"""Of a taught sound."""

# Listening
MOST_MICROPHONES = 64
MOST_RULES = 100
MOST_SECRET = 4096
"""Bytes read of a file with a password or token."""
MOST_KEPT_SETTINGS = 1 << 20
"""Bytes of the settings that the page changed."""
MOST_BLOCK = 1 << 24
"""Bytes of a block of the process that captures a microphone."""
MOST_CARDS = 1 << 16
"""Bytes that are read of the kernel's list of sound cards."""

# Outputs
MOST_PAYLOAD = 1 << 16
"""Bytes of an MQTT message of others that are looked at; edgecap's own are shorter."""
MOST_UNREAD = 1000
"""Messages of the broker that were received and not taken yet; more are dropped."""
MOST_WAITING = 1000
"""Events that wait in memory while they cannot be written or stored, and lines that cannot be printed; the oldest go
first."""
EXEC_SECONDS = 30.0
"""A program of --exec that runs longer is ended."""
WEBHOOK_SECONDS = 10.0
"""A request of --webhook that takes longer in all is given up, and tried again."""
MOST_ERRORS, MOST_ERROR_LINES = 4_096, 10
"""Bytes and lines that are kept of a command's standard error."""
MOST_SCRAPES = 16
"""Visitors of --metrics at once."""

# The page
MOST_REQUESTS = 64
"""Requests and streams at once, of all browsers together; a visitor without the token keeps no place."""
MOST_FIELDS = 20
"""Of a query."""
MOST_WATCHERS = 24
"""Browsers that follow the events."""
MOST_PASSING = 30
"""Messages for the moment that wait for one browser: those of a second."""
MOST_KEPT = 256
"""Events that wait for one browser."""
MOST_UPLOAD = 64 << 20
"""Bytes of a sound that is uploaded."""
MOST_WINDOWS = 60
"""Captions of one sound: ten minutes with the default model."""
MOST_UPLOAD_NAME = 120
"""Characters of its name."""
MOST_CONTROLS = 16_384
"""Bytes of settings that are sent to the page."""
MOST_LESSON = 4096
"""Bytes of what asks to teach a sound."""
MOST_LABEL_BYTES = 4096
"""Bytes of what asks to label one."""
MOST_LABEL = 200
"""Characters of a label."""
MOST_LABELS = 10_000
"""Labels; more would make each of them slow to write."""
MOST_LABEL_TABLE = 16 << 20
"""Bytes of their table."""
MOST_EVENTS = 1000
"""Events of this run that are held in memory: some 500 bytes each."""


def search_memory() -> int:
    """Bytes that a search of an archive may take: half of this machine's memory, so that nothing else is ended."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def check_product(what: str, most: int, *factors: int) -> None:
    """Raise ValueError where the product of numbers is above `most`."""
    product = 1
    for factor in factors:
        product *= factor
    if product > most:
        raise ValueError(f"{what} would hold {product} numbers, at most {most} are allowed")


def check_transformer(words: int, width: int, layers: int, feed_forward: int) -> None:
    """Raise ValueError for a text decoder or encoder of more than `MOST_WEIGHTS`."""
    check_product("the network", MOST_WEIGHTS, words * width + layers * (8 * width**2 + 2 * width * feed_forward))
