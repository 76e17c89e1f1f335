"""A connection to an MQTT broker that is kept: messages in order, a bounded queue, what is retained, why it is away.

Everything is done in `step`, by the thread that listens, and nothing waits: the library's thread only says what
happened (`edgecap.live.sinks.broker_client`). So nothing here needs a lock.

A moment (`send`) is sent once, and waits in a bounded queue while the broker is away. What lasts (`keep`) is retained:
it is sent whenever it changes, and all newest values again after each connection. After a reconnect the library sends
again what was in flight, but behind what is published meanwhile; so nothing is published until that was acknowledged.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty
from typing import Literal

from edgecap.errors import OutputError
from edgecap.live.config.mqtt_config import MqttConfig
from edgecap.live.sinks.broker_client import IN_FLIGHT, REFUSALS, Access, Happened, Link, ended, not_connected, refused
from edgecap.types import Notify
from edgecap.util.documents import from_json
from edgecap.util.files import to_json
from edgecap.util.limits import MOST_UNREAD

FIRST_SECONDS = 5.0
"""Time that the broker has for its first answer; after it listening begins without the broker."""
LAST_SECONDS = 3.0
"""Time for the last messages at the end."""
SURVEY_SECONDS = 3.0
"""Time that the broker has to say what it retains; after it the rest stays there."""
STEADY_SECONDS = 60.0
"""A connection that lasts this long is a good one."""
MOST_TOLD = 3
"""Connections in a row that end sooner and are told."""
MOST_CLIENTS = 20
"""Others with the same node that are told."""
UNSUPPORTED = "Unsupported protocol version"


class Broker:
    """Use it from one thread."""

    def __init__(
        self,
        config: MqttConfig,
        notify: Notify,
        *,
        base: str,
        client_id: str,
        leftovers: Sequence[str] = (),
        is_own: Callable[[str, bytes], bool] = lambda _topic, _payload: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to connect as `client_id`; `base` is the topic of this listener, with "/availability" below.

        What is retained under the filters `leftovers`, is edgecap's (`is_own`) and is not kept now is removed at the
        first connection.
        Raises ConfigError for files that cannot be used, MissingDependencyError without paho-mqtt.
        """
        self._config, self._notify, self._clock, self._base = config, notify, clock, base
        self._access = Access.checked(config, notify, client_id, f"{base}/availability")
        self.where = f"{f'[{config.host}]' if ':' in str(config.host) else config.host}:{self._access.port}"
        self._kept: dict[str, str] = {}
        self._due: deque[tuple[str, str]] = deque()
        """What is to be retained and was not sent yet; empty removes."""
        self._waiting: deque[tuple[str, str]] = deque()
        self._in_flight, self._resent, self._limit = set[int](), set[int](), IN_FLIGHT
        """Messages that were not acknowledged, those of them that are older than the connection, how many may be."""
        self.lost = self._lost_told = 0
        """Moments that were dropped because too many waited."""
        self.connected = self._ever = self._answered = False
        self._refusal, self._told = "", set[str]()
        self._since, self._short, self._unanswered = clock(), 0, 0
        self._leftovers, self._is_own, self._retained = tuple(leftovers), is_own, set[str]()
        self._surveyed, self._survey_until, self._ungranted = False, 0.0, 0
        self._clients = {client_id}
        self._change = threading.Event()
        self._version: Literal[4, 5] = 5
        self._link = Link(self._access, self._change)

    def send(self, topic: str, payload: str) -> None:
        """Send a moment; where `config.queue` wait already, the oldest is dropped and counted."""
        if len(self._waiting) >= self._config.queue:
            self._waiting.popleft()
            self.lost += 1
        self._waiting.append((topic, payload))

    def keep(self, topic: str, payload: str) -> None:
        """Retain a value, in place of that before."""
        if self._kept.get(topic) != payload:
            self._kept[topic] = payload
            if self.connected:  # else all is sent again
                self._due.append((topic, payload))
            if len(self._due) > self._config.queue:
                self._due = deque(dict(self._due).items())

    def forget(self, topic: str) -> None:
        """Remove what is retained."""
        if self._kept.pop(topic, None) is not None:
            self._due.append((topic, ""))

    def step(self) -> None:
        """Take in what happened, and hand over what the library may have now. Never waits."""
        self._change.clear()
        link = self._link
        for _ in range(MOST_UNREAD):  # not without end: a broker may send as fast as they are taken
            if self._link is not link:
                break
            try:
                self._take(link.happened.get_nowait())
            except Empty:
                break
        if self.connected and not self._surveyed and self._clock() >= self._survey_until:
            self._end_survey()
        self._publish()

    def first_answer(self) -> None:
        """Wait a moment for the connection. Raises OutputError where the broker refuses it for good."""
        self._step_until(lambda: self._refusal or (self._surveyed if self.connected else self._answered), FIRST_SECONDS)
        if self._refusal:
            self._link.stop(LAST_SECONDS)  # the library's thread is to close its socket before the process ends
            raise OutputError(f"the MQTT broker {self.where} {refused(self._refusal)}")
        if not self._answered:
            self._tell(not_connected(None, self._config))

    def close(self) -> None:
        """Deliver what waits, say "offline", and end the connection; within a few seconds."""
        deadline = time.monotonic() + LAST_SECONDS
        for last in ((), (f"{self._base}/availability",)):
            for topic in last:
                self.keep(topic, "offline")
            self._step_until(lambda: not self.connected or self._idle, deadline - time.monotonic())
        unsent = len(self._waiting) + self.lost - self._lost_told
        if unsent:
            why = "does not take them" if self.connected else "is away"
            self._notify("warning", f"the MQTT broker {self.where} {why}; {unsent} messages were not sent")
        self._link.stop(1.0)

    @property
    def _idle(self) -> bool:
        return not (self._waiting or self._due or self._in_flight)

    def _step_until(self, is_so: Callable[[], object], seconds: float) -> None:
        """Step until that is so, for at most that long."""
        deadline = time.monotonic() + seconds
        self.step()
        while not is_so() and (rest := deadline - time.monotonic()) > 0:
            self._change.wait(min(0.1, rest))
            self.step()

    def _publish(self) -> None:
        """What is retained, then what waits, as far as there is room."""
        if not self.connected or not self._surveyed or self._resent:
            return
        while len(self._in_flight) < self._limit:
            if self._due:
                self._in_flight.add(self._link.publish(*self._due.popleft(), retain=True))
            elif self._waiting:
                self._in_flight.add(self._link.publish(*self._waiting.popleft(), retain=False))
            else:
                return

    def _take(self, happened: Happened) -> None:
        """React to what the library's thread saw."""
        match happened.what:
            case "connected":
                self._begin(happened.number)
            case "refused":
                self._refuse(happened.reason)
            case "failed":
                self._tell(happened.reason)
            case "gone":
                self._end(happened)
            case "granted":
                self._ungranted -= happened.good  # where one is refused, the survey ends with its time
                if not self._ungranted and not self._surveyed:
                    self._introduce()
            case "received":
                self._receive(happened)
            case "acknowledged":
                self._in_flight.discard(happened.number)
                self._resent.discard(happened.number)
                if not happened.good:
                    self._tell(f"refuses messages below {self._base} ({happened.reason}); see what it allows this user")

    def _begin(self, limit: int) -> None:
        """There is a connection."""
        self.connected = self._ever = self._answered = True
        self._since, self._limit, self._resent = self._clock(), max(1, limit), set(self._in_flight)
        availability = f"{self._base}/availability"
        self._kept[availability] = self._kept.pop(availability, "online")  # behind the values, and not after "offline"
        removed = [(topic, payload) for topic, payload in self._due if not payload]
        self._due = deque([*removed, *self._kept.items()])
        topics = [f"{self._base}/start", *(() if self._surveyed else self._leftovers)]
        self._ungranted, self._survey_until = len(topics), self._clock() + SURVEY_SECONDS
        self._link.subscribe(topics)
        lost, self._lost_told = self.lost - self._lost_told, self.lost
        if self._told:
            dropped = f"; {lost} captions were dropped meanwhile, the oldest" if lost else ""
            self._notify("note", f"the MQTT broker {self.where} is there{dropped}")
        self._told.clear()

    def _refuse(self, reason: str) -> None:
        if reason == UNSUPPORTED and not self._ever:
            self._change_version()
        elif reason in REFUSALS and not self._answered:
            self._refusal = reason
        else:
            self._tell(refused(reason))

    def _end(self, happened: Happened) -> None:
        """A connection ended, accepted or not."""
        accepted, self.connected = self.connected, False
        if accepted:
            self._short = 0 if self._clock() - self._since >= STEADY_SECONDS else self._short + 1
        elif self._refusal or any(reason.startswith("refuses") for reason in self._told):
            return  # the end of a connection that was refused
        else:
            self._unanswered += 1
        if self._short > MOST_TOLD or (self._short == MOST_TOLD and not accepted):
            return  # that no more is told was said when the last connection ended
        client_id = self._access.client_id
        what = ended(happened.reason, happened.logged, accepted=accepted, config=self._config, client_id=client_id)
        if self._short == MOST_TOLD:  # not every broker says that somebody else took the place
            what += f", {MOST_TOLD} times in a row: does another program use the client id {client_id}? No more is told"
        self._tell(what)
        if not self._ever and self._unanswered % 2 == 0:  # some old brokers only hang up on MQTT 5
            self._change_version()

    def _change_version(self) -> None:
        """Try the other version of MQTT. Only where there was no connection yet: messages in flight would be lost."""
        self._version = 4 if self._version == 5 else 5
        self._link.stop()
        self._link = Link(self._access, self._change, version=self._version)

    def _introduce(self) -> None:
        """Say who begins here: it comes back behind all that is retained, and shows who else has this node."""
        introduction = to_json({"client": self._access.client_id, "host": socket.gethostname()})
        self._in_flight.add(self._link.publish(f"{self._base}/start", introduction, retain=False))

    def _receive(self, happened: Happened) -> None:
        if happened.topic != f"{self._base}/start":
            if happened.good and not self._surveyed and self._is_own(happened.topic, happened.payload):
                self._retained.add(happened.topic)
            return
        try:
            introduction = from_json(happened.payload)
            client, host = str(introduction["client"]), str(introduction["host"])
        except (ValueError, TypeError, KeyError):
            return  # something else was sent there
        if client == self._access.client_id:
            self._end_survey()
        elif client not in self._clients and len(self._clients) < MOST_CLIENTS:
            self._clients.add(client)
            self._introduce()
            self._notify(
                "warning",
                f"another edgecap, on {host[:80]!r}, has the same node at the MQTT broker {self.where}, so their "
                "sounds are mixed up; set another mqtt.node for one of them",
            )

    def _end_survey(self) -> None:
        """Remove what is retained of an earlier run and is not kept now."""
        if not self._surveyed:
            self._surveyed = True
            self._due.extendleft((topic, "") for topic in sorted(self._retained - self._kept.keys()))
            self._retained.clear()
            self._link.unsubscribe(self._leftovers)

    def _tell(self, what: str) -> None:
        """Say once why the broker is away, until it is back."""
        self._answered = True
        if what not in self._told:
            self._told.add(what)
            waits = f"captions wait for it, at most {self._config.queue}"
            self._notify("warning", f"the MQTT broker {self.where} {what}; {waits}")
