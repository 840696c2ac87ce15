"""Alarms as messages to an MQTT broker, through paho-mqtt where it is installed.

``TOPIC`` is sent every alarm as JSON.  ``TOPIC/state`` keeps (retained) what is so now:
``raised``, ``lowered``, or ``gone`` where the run has ended or its connection broke, which
the broker then says in its place (last will).  All with QoS 1: delivered at least once.
"""

import json
import time
from collections import deque
from typing import Deque
from urllib.parse import unquote, urlsplit

from apps.stream.watch.alarm import LOWERED
from apps.stream.watch.masked import masked
from edge_mpq.errors import UsageError

PORTS = {"mqtt": 1883, "mqtts": 8883}
GONE = "gone"
KEEP_ALIVE_S, LONGEST_WAIT_S, WAITING = 30, 60, 64
CLOSE_S = 5.0


class Mqtt(object):
    """The way out to ``mqtt://[USER:PASSWORD@]HOST[:PORT]/TOPIC``, or ``mqtts://`` for TLS.

    The library's thread connects, now and whenever the connection broke, and sends what
    waits.  say: told when the broker is away and when it is back.  Raises UsageError for what
    is no such address, and where paho-mqtt is missing.
    """

    def __init__(self, url, say):
        parts, self._topic = check(url)
        self._name, self._say, self._state = masked(url), say, LOWERED
        self._away = self._closed = False
        self._arrived: Deque[int] = deque(maxlen=WAITING)
        library = _library()
        # Version 1 of the library, which Python 3.6 has, knows one form of callbacks only.
        versions = getattr(library, "CallbackAPIVersion", None)
        self._client = client = library.Client(versions.VERSION2) if versions else library.Client()
        self._full, self._connack = library.MQTT_ERR_QUEUE_SIZE, library.connack_string
        if parts.username is not None:
            client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            client.tls_set()
        client.will_set(self._topic + "/state", GONE, qos=1, retain=True)
        client.reconnect_delay_set(1, LONGEST_WAIT_S)
        client.max_queued_messages_set(2 * WAITING)  # an alarm and its state
        client.on_connect, client.on_disconnect = self._connected, self._lost
        client.on_connect_fail = self._lost
        client.on_publish = lambda client, _, number, *__: self._arrived.append(number)
        client.connect_async(parts.hostname, parts.port or PORTS[parts.scheme], KEEP_ALIVE_S)
        client.loop_start()

    def tell(self, event):
        """Send ``event``, a dict of JSON values whose ``event`` is the new state; never waits."""
        self._state = event["event"]
        self._publish("", json.dumps(event, allow_nan=False), False)
        self._publish("/state", self._state, True)

    def close(self):
        """Send what is left, for CLOSE_S at most, and say goodbye; twice is harmless."""
        if self._closed:
            return
        self._closed, self._state = True, GONE
        last = self._publish("/state", GONE, True)
        until = time.monotonic() + CLOSE_S
        # Messages are delivered in order, so with the last one all are.
        while last.mid not in self._arrived and time.monotonic() < until:
            time.sleep(0.02)
        if last.mid not in self._arrived:
            self._say("what was last told to {} was not delivered".format(self._name))
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, below, text, retain):
        sent = self._client.publish(self._topic + below, text, qos=1, retain=retain)
        if sent.rc == self._full:
            self._say("an alarm to {} was given up: {} others wait".format(self._name, WAITING))
        return sent

    def _connected(self, client, _, flags, code, *__):
        refused = code.is_failure if hasattr(code, "is_failure") else code != 0
        if refused:
            return self._tell_away(str(code) if hasattr(code, "is_failure") else self._connack(code))
        if self._away:
            self._away = False
            self._say("{} is back".format(self._name))
        # The broker said in its place that it is gone.
        return self._publish("/state", self._state, True)

    def _lost(self, *_):
        if not self._closed:
            self._tell_away("no connection")

    def _tell_away(self, why):
        if not self._away:
            self._away = True
            self._say("{} does not answer ({}); it is tried again".format(self._name, why))


def check(url):
    """(parts, topic) of an MQTT ``url``; UsageError, which keeps its secrets, where it is none."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in PORTS and bool(parts.hostname) and parts.port != 0 and url.isprintable()
        topic = unquote(parts.path[1:], errors="strict")
    except ValueError:  # a port that is none
        fits, topic = False, ""
    # A wildcard is for those who listen; what follows ? or # is no part of a topic.
    wrong = not topic or any(sign in topic for sign in "+#\0") or any(sign in url for sign in "?#")
    if not fits or wrong or len(topic.encode("utf-8", "replace")) > 60000:
        raise UsageError("{} is no address of a broker and a topic".format(masked(url)), "write mqtt://HOST:PORT/TOPIC")
    return parts, topic


def _library():
    try:
        from paho.mqtt import client
    except ImportError as error:
        raise UsageError("alarms over MQTT need paho-mqtt", "pip install 'edge-mpq[mqtt]', or paho-mqtt") from error
    return client
