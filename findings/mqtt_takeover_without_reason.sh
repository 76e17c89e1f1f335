#!/usr/bin/env bash
# mosquitto 2.0.11 does not tell an MQTT 5 client that another one with its client id took its place.
#
# Expected: MQTT 5, section 3.1.4: where a client connects with the client id of one that is connected, the server sends
# that one a DISCONNECT with reason code 0x8E, "Session taken over", and closes its connection. It is the only way by
# which the first can learn what happens to it.
# Instead: the connection is closed without a packet, as when a cable is pulled; paho-mqtt calls on_disconnect with
# "Unspecified error". Two clients with one id reconnect in turns for ever, and neither log says why. With a clean start,
# without one, and with a session that lasts.
# Seen: mosquitto 2.0.11-1.2+deb12u2 (Debian 12), Linux x86-64; the bytes are read from the socket, without a library.
# What to do: never make a client id of something that two machines may share, as a host name; add random digits for
# each process. edgecap does, tells the reason where a broker gives one, and after three short connections in a row
# asks whether another program uses its id. The broker's log has it: "already connected, closing old connection".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
PATH=$PATH:/usr/sbin
command -v mosquitto >/dev/null || { echo "not tried: no mosquitto; type: sudo apt install mosquitto"; exit 2; }
mosquitto -h | head -n 1 || true
python3 - <<'PYTHON'
import socket
import subprocess
import sys
import time

CASES = {"clean start": (2, b""), "no clean start": (0, b""), "session of 60 s": (0, b"\x11\x00\x00\x00\x3c")}
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
with open("mosquitto.conf", "w") as file:
    file.write(f"listener {port} 127.0.0.1\nallow_anonymous true\n")


def connect(flags: int, properties: bytes) -> socket.socket:
    """A connection with the client id "same", accepted by the broker."""
    body = b"\x00\x04MQTT\x05" + bytes([flags, 0, 60, len(properties)]) + properties + b"\x00\x04same"
    for _ in range(100):
        try:
            connection = socket.create_connection(("127.0.0.1", port), 5)
            break
        except OSError:
            time.sleep(0.1)
    else:
        sys.exit("not tried: mosquitto does not start")
    connection.sendall(bytes([0x10, len(body)]) + body)
    answer = connection.recv(100)
    assert answer[0] == 0x20 and answer[3] == 0, "not accepted"
    return connection


broker = subprocess.Popen(["mosquitto", "-c", "mosquitto.conf"], stderr=subprocess.DEVNULL)
last_words = {}
try:
    for case, (flags, properties) in CASES.items():
        first, second = connect(flags, properties), connect(flags, properties)
        received = b""
        while more := first.recv(100):  # until the broker closes it
            received += more
        last_words[case] = received
        first.close()
        second.close()
finally:
    broker.terminate()
    broker.wait()
for case, received in last_words.items():
    print(f"{case}: before its connection ended the first client received {received.hex(' ') or 'nothing'}")
if any(last_words.values()):
    sys.exit("CHANGED: the broker says something")
print("as described: no DISCONNECT with 0x8E")
PYTHON
