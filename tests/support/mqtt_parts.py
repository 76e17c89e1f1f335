"""A real mosquitto that tests start and stop, and somebody who reads it."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paho.mqtt import client
from paho.mqtt.enums import CallbackAPIVersion

from edgecap.live.sinks.broker import Broker
from support.ports import free_port

MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")


def eventually(check: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def until(broker: Broker, check: Callable[[], object]) -> None:
    """As `eventually`, while the listener goes on."""

    def stepped() -> object:
        broker.step()
        return check()

    eventually(stepped)


class RealBroker:
    """A mosquitto on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *lines: str) -> None:
        """Start it and wait until it listens; `lines` stand in for the setting that lets everyone in."""
        settings = self.folder / "mosquitto.conf"
        settings.write_text("\n".join([f"listener {self.port} 127.0.0.1", *(lines or ["allow_anonymous true"])]) + "\n")
        self.process = subprocess.Popen(
            [str(MOSQUITTO), "-c", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        eventually(listens)

    def freeze(self) -> None:
        """It acknowledges nothing any more."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process:
            self.process.send_signal(how)
            self.process.send_signal(signal.SIGCONT)
            self.process.wait(20)
            self.process = None


class Reader:
    """Somebody who reads every topic of a broker, and comes back to it."""

    def __init__(self, port: int) -> None:
        self.messages: list[client.MQTTMessage] = []
        self._client = client.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = self._connected
        self._ready = False
        self._client.on_subscribe = self._subscribed
        self._client.on_message = lambda _client, _data, message: self.messages.append(message)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self.wait()

    def wait(self) -> None:
        """Until it reads."""
        eventually(lambda: self._ready)

    def lose(self) -> None:
        """The broker goes: `wait` waits for a new connection."""
        self._ready = False

    def _connected(self, *_: object) -> None:
        self._client.subscribe("#", qos=1)

    def publish(self, topic: str, payload: str, *, retain: bool = False) -> None:
        """Publish, and wait until the broker has it."""
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(20)

    def _subscribed(self, *_: object) -> None:
        self._ready = True

    def of(self, topic: str) -> list[str]:
        """Payloads of a topic, in order."""
        return [message.payload.decode() for message in self.messages if message.topic == topic]

    def documents(self, topic: str) -> list[dict[str, Any]]:
        """The same as JSON, without what was removed."""
        return [json.loads(payload) for payload in self.of(topic) if payload]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def retained(port: int) -> dict[str, str]:
    """Topic to payload of all that a broker retains."""
    kept: dict[str, str] = {}
    reader = Reader(port)
    done = f"test/{time.monotonic_ns()}"
    reader.publish(done, "x")
    eventually(lambda: reader.of(done))
    reader.close()
    for message in reader.messages:
        if message.retain:
            kept[message.topic] = message.payload.decode()
    return kept
