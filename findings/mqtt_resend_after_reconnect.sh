#!/usr/bin/env bash
# paho-mqtt sends again what was in flight only after on_connect has returned: newer messages overtake older ones.
#
# Expected: with QoS 1 and a session that lasts, messages reach the broker in the order in which publish() was called.
# MQTT (3.1.1 and 5, section 4.6) wants messages sent again in their order, and a topic is an ordered topic by
# default.
# Instead: on_connect, which is where clients usually announce themselves and send their current state, runs before
# the unacknowledged messages are sent again. A state published there arrives first, and the older one after it. Where
# both are retained, the broker keeps the OLD one for everyone who subscribes later: a sensor is wrong until its next
# change.
# Seen: paho-mqtt 2.2.0, mosquitto 2.0.11 (Debian 12), Linux x86-64. The link is cut by stopping the broker's process,
# so that it cannot acknowledge, and starting another.
# What to do: in on_connect, publish nothing that an older message of the same topic must not follow. Send it once the
# messages in flight were acknowledged (on_publish), and put a time into each message by which a receiver can tell the
# newest; edgecap's events carry the time at which they began.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check paho-mqtt==2.2.0
PATH=$PATH:/usr/sbin
command -v mosquitto >/dev/null || { echo "not tried: no mosquitto; type: sudo apt install mosquitto"; exit 2; }
mosquitto -h | head -n 1 || true
venv/bin/python - <<'PYTHON'
import importlib.metadata
import signal
import socket
import subprocess
import sys
import threading
import time

from paho.mqtt.client import CallbackAPIVersion, Client

TOPIC = "sensor/state"
print(f"paho-mqtt {importlib.metadata.version('paho-mqtt')}")
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
with open("mosquitto.conf", "w") as file:
    file.write(f"listener {port} 127.0.0.1\nallow_anonymous true\n")


def start_broker() -> subprocess.Popen[bytes]:
    """Start mosquitto and wait until it answers."""
    broker = subprocess.Popen(["mosquitto", "-c", "mosquitto.conf"], stderr=subprocess.DEVNULL)
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return broker
        except OSError:
            time.sleep(0.1)
    broker.kill()
    sys.exit("not tried: mosquitto does not start")


def subscriber(name: str) -> tuple[Client, list[str]]:
    """A connected client and the list that its messages go to; it has subscribed when this returns."""
    messages: list[str] = []
    ready = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, client_id=name)
    client.on_connect = lambda *_: client.subscribe(TOPIC, 1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda _client, _data, message: messages.append(message.payload.decode())
    client.connect("127.0.0.1", port)
    client.loop_start()
    ready.wait(10)
    return client, messages


connected = threading.Event()
watching = threading.Event()
connections = []


def on_connect(client: Client, *_: object) -> None:
    connections.append(time.monotonic())
    connected.set()
    if len(connections) == 2:
        watching.wait(10)
        client.publish(TOPIC, "newest", qos=1, retain=True)


broker = start_broker()
publisher = Client(CallbackAPIVersion.VERSION2, client_id="publisher", clean_session=False)
publisher.reconnect_delay_set(1, 1)
publisher.on_connect = on_connect
publisher.connect("127.0.0.1", port)
publisher.loop_start()
connected.wait(10)
broker.send_signal(signal.SIGSTOP)  # from here on nothing is acknowledged
for message in ("old 1", "old 2"):
    publisher.publish(TOPIC, message, qos=1, retain=True)
time.sleep(0.5)
broker.kill()
broker.wait()
broker = start_broker()
watcher, arrived = subscriber("watcher")
watching.set()
deadline = time.monotonic() + 20
while len(arrived) < 3 and time.monotonic() < deadline:
    time.sleep(0.1)
late, retained = subscriber("late")
time.sleep(1)
for client in (publisher, watcher, late):
    client.disconnect()
    client.loop_stop()
broker.terminate()
broker.wait()
print(f"published: ['old 1', 'old 2', 'newest']\narrived:   {arrived}\nretained:  {retained}")
if arrived != ["newest", "old 1", "old 2"] or retained != ["old 2"]:
    sys.exit("CHANGED: the messages arrive in another order")
print("as described: the newest state arrives first, and the broker keeps an old one")
PYTHON
