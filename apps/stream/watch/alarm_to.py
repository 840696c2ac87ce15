"""Where an alarm goes: a line on stdout, a web address, a topic of an MQTT broker."""

import json
import sys
from typing import Any, Dict

from apps.stream.watch import mqtt, webhook
from edge_mpq.errors import UsageError

WAYS: Dict[str, Any] = {"http": (webhook, webhook.Webhook), "https": (webhook, webhook.Webhook)}
WAYS.update({"mqtt": (mqtt, mqtt.Mqtt), "mqtts": (mqtt, mqtt.Mqtt)})


class Lines(object):
    """One line of JSON on stdout an alarm.  say: told once where it cannot be written."""

    def __init__(self, say):
        self._say, self._stream = say, sys.stdout

    def tell(self, event):
        """Write ``event`` at once."""
        if self._stream is None:
            return
        try:
            self._stream.write(json.dumps(event, allow_nan=False) + "\n")
            self._stream.flush()
        except (OSError, ValueError) as error:  # whoever read it is gone
            self._stream = None
            self._say("alarms can no longer be written to stdout ({})".format(error))

    def close(self):
        """Nothing is left to do."""


def parse(text):
    """``text`` as it is, where it names a way out: ``stdout`` or a URL; else UsageError."""
    if text == "stdout":
        return text
    scheme, mark, _ = text.partition("://")
    if not mark or scheme.lower() not in WAYS:
        what = "--alarm-to is {!r}".format(scheme[:40] + ("://***" if mark else ""))
        raise UsageError(what, "write stdout, http(s)://... or mqtt(s)://HOST/TOPIC")
    WAYS[scheme.lower()][0].check(text)
    return text


def opened(text, say):
    """The way out ``text`` names: ``tell(event)`` and ``close()``.  UsageError where it needs what is not here."""
    return Lines(say) if text == "stdout" else WAYS[text.partition("://")[0].lower()][1](text, say)
