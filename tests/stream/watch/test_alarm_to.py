"""Where alarms go: lines, web addresses and brokers, that may be slow, broken or gone."""

import base64
import http.server
import io
import json
import shutil
import socket
import subprocess
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.stream.watch import alarm_to, mqtt, outbox, webhook
from apps.stream.watch.masked import masked
from apps.stream.watch.outbox import Failed, Outbox
from edge_mpq.errors import UsageError

EVENT = {"event": "raised", "label": "Fire", "facts": {"lat": 46.5}}


def _until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


class Server(http.server.ThreadingHTTPServer):
    """Answers POSTs with the statuses of ``script``, then 204, and keeps what came."""

    def __init__(self, script=()):
        self.script, self.came, self.gate = list(script), [], threading.Event()
        self.gate.set()
        super().__init__(("127.0.0.1", 0), Answering)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def __exit__(self, *_):
        self.gate.set()
        self.shutdown()
        self.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/hook?key=secret"


class Answering(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.gate.wait(20)
        self.server.came.append((self.path, dict(self.headers), body))
        self.send_response(self.server.script.pop(0) if self.server.script else 204)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_):
        pass


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def quick(monkeypatch):
    """Waits between tries that a test can afford."""
    monkeypatch.setattr(outbox, "FIRST_WAIT_S", 0.01)


def test_a_webhook_is_posted_json_with_the_password_of_its_address_in_a_header():
    said: list[str] = []
    with Server() as server:
        way = alarm_to.opened(server.url.replace("//", "//me:a%20word@"), said.append)
        way.tell(EVENT)
        way.close()
        ((path, headers, body),) = server.came
    assert (path, body, said) == ("/hook?key=secret", EVENT, [])
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"me:a word").decode()
    assert headers["Content-Type"].startswith("application/json") and "@" not in headers["Host"]


def test_a_server_that_is_away_gets_everything_in_order_once_it_is_back(quick):
    said: list[str] = []
    with Server([503, 500, 429]) as server:
        way = webhook.Webhook(server.url, said.append)
        for number in range(5):
            way.tell({"event": number})
        _until(lambda: len(server.came) == 8)
        way.close()
        assert [body["event"] for _, _, body in server.came] == [0, 0, 0, 0, 1, 2, 3, 4]
    name = f"http://127.0.0.1:{server.server_port}/***"
    assert said == [f"an alarm to {name} was not delivered (HTTP status 503); it is tried again",
                    f"the alarm to {name} was delivered"]  # fmt: skip


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404])
def test_a_refusal_or_a_redirect_is_told_and_not_tried_again(status):
    said: list[str] = []
    with Server([status]) as server:
        way = webhook.Webhook(server.url, said.append)
        way.tell(EVENT)
        way.tell(EVENT)
        _until(lambda: len(server.came) == 2)
        way.close()
    assert len(said) == 1 and f"was refused: HTTP status {status}" in said[0] and "secret" not in said[0]


def test_nobody_waits_for_a_server_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(outbox, "CLOSE_S", 0.2)
    said: list[str] = []
    with Server() as server:
        server.gate.clear()
        way = webhook.Webhook(server.url, said.append)
        for _ in range(3 * outbox.WAITING):
            way.tell(EVENT)
        assert len(way._outbox._waiting) == outbox.WAITING
        way.close()
        way.close()
    assert said[-1].endswith(f"that were not delivered: {outbox.WAITING}")
    assert sum("was given up: 64 others wait" in line for line in said) == 2 * outbox.WAITING


def test_no_server_at_all_is_told_once_and_the_end_comes_soon(quick, monkeypatch):
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.5)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    said: list[str] = []
    way = webhook.Webhook(f"http://127.0.0.1:{port}/", said.append)
    way.tell(EVENT)
    _until(lambda: said)
    way.close()
    assert "refused" in said[0].lower() and len(said) == 2 and said[1].endswith("that were not delivered: 1")


def test_a_message_that_cannot_be_sent_leaves_those_after_it():
    said: list[str] = []
    with Server() as server:
        way = webhook.Webhook(server.url, said.append)
        way.tell({"event": {1, 2}})
        way.tell(EVENT)
        _until(lambda: server.came)
        way.close()
        assert [body for _, _, body in server.came] == [EVENT]
    assert len(said) == 1 and "cannot be sent (Object of type set is not JSON serializable)" in said[0]


def test_waits_grow_up_to_a_limit_and_a_message_is_given_up_in_the_end():
    waits: list[float] = []
    said: list[str] = []

    def fails(message):
        raise Failed("no")

    box = Outbox("x", fails, said.append, lambda seconds: waits.append(seconds))
    box.put(1)
    _until(lambda: len(said) == 2)
    box.close()
    assert waits == [1, 2, 4, 8, 16, 32] + [60] * 14
    assert said[1] == "an alarm to x was given up after 20 tries"


def test_a_line_on_stdout_and_a_reader_that_went(monkeypatch, capsys):
    said: list[str] = []
    way = alarm_to.opened("stdout", said.append)
    way.tell(EVENT)
    assert json.loads(capsys.readouterr().out) == EVENT
    closed = io.StringIO()
    monkeypatch.setattr("sys.stdout", closed)
    gone = alarm_to.opened("stdout", said.append)
    closed.close()
    gone.tell(EVENT)
    gone.tell(EVENT)
    assert len(said) == 1 and "can no longer be written" in said[0]


@pytest.mark.parametrize(
    "text",
    ["", "stderr", "file:///etc/passwd", "ftp://host/x", "http://", "http:///x", "http://host:port/", "http://a b/",
     "http://host:0/", "http://host:99999/", "https://me:secret@/x", "http://h/\n", "http://h/\u00fc", "://",
     "http:host", "http://" + "a" * 70, "mqtt://", "mqtt://host", "mqtt://host/", "mqtt:///topic", "mqtt://host/a/#",
     "mqtt://host/+", "mqtt://host/a?b", "mqtt://host:x/a", "mqtt://me:secret@host:0/a", "mqtt://host/%00",
     "mqtt://host/" + "a" * 70000],
)  # fmt: skip
def test_what_is_no_way_out_is_refused_and_keeps_its_secrets(text):
    with pytest.raises(UsageError) as refused:
        alarm_to.parse(text)
    assert "secret" not in str(refused.value) and len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "text", ["stdout", "HTTPS://me:pw@host/a", "http://[::1]:8080/", "mqtt://host/a/b", "mqtts://u:p@h:1/x"]
)
def test_what_is_one_is_taken_as_it_is(text):
    assert alarm_to.parse(text) == text


@given(st.text("abc:/@?#&%.[]0123 ", max_size=30), st.sampled_from(["http", "https", "mqtt"]))
def test_any_text_behind_a_scheme_is_taken_or_refused(rest, scheme):
    try:
        assert alarm_to.parse(f"{scheme}://{rest}") == f"{scheme}://{rest}"
    except UsageError as error:
        assert error.mend


def test_an_address_shows_its_host_alone():
    assert masked("https://me:secret@hooks.example:8443/T0/B0/x?key=y") == "https://hooks.example:8443/***"
    assert masked("http://me:sec/ret@host/x") == "http://***"
    assert masked("mqtt://me:secret@[::1]/x") == "mqtt://[::1]/***"


def test_mqtt_without_its_library_names_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "paho.mqtt", None)
    with pytest.raises(UsageError, match=r"need paho-mqtt; pip install 'edge-mpq\[mqtt\]'"):
        alarm_to.opened("mqtt://127.0.0.1/x", print)


class Broker:
    """A mosquitto on a port of its own, that can be stopped and started again."""

    def __init__(self, folder):
        self.program = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
        if not self.program:
            pytest.skip("no mosquitto on this machine")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.settings = folder / "broker.conf"
        self.settings.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self.start()

    def start(self):
        self.process = subprocess.Popen([self.program, "-c", self.settings], stderr=subprocess.DEVNULL)

        def answers():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        _until(answers)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def broker(tmp_path):
    pytest.importorskip("paho.mqtt.client")
    made = Broker(tmp_path)
    yield made
    made.stop()


class Listener:
    """A client that keeps every (topic, text, retained) below fire/."""

    def __init__(self, port):
        from paho.mqtt import client

        self.came: list[tuple[str, str, bool]] = []
        self.client = client.Client(client.CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe("fire/#", qos=1)
        self.client.on_message = lambda _, __, message: self.came.append(
            (message.topic, message.payload.decode(), bool(message.retain))
        )
        self.ready = threading.Event()
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.reconnect_delay_set(0.05, 0.1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self.ready.wait(10)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def test_a_broker_is_told_alarm_and_state_and_keeps_the_state(broker):
    said: list[str] = []
    listener = Listener(broker.port)
    way = alarm_to.opened(f"mqtt://127.0.0.1:{broker.port}/fire/tower%201", said.append)
    _until(lambda: listener.came)
    way.tell(EVENT)
    _until(lambda: len(listener.came) == 3)
    late = Listener(broker.port)
    _until(lambda: late.came)
    way.close()
    way.close()
    _until(lambda: len(listener.came) == 4)
    topic, state = "fire/tower 1", "fire/tower 1/state"
    assert [text for at, text, _ in listener.came if at == state] == ["lowered", "raised", "gone"]
    assert [json.loads(text) for at, text, _ in listener.came if at == topic] == [EVENT]
    assert late.came[0] == (state, "raised", True), "the state is retained, the alarm is not"
    assert said == []
    for one in (listener, late):
        one.close()


def test_where_the_connection_breaks_the_broker_says_gone(broker):
    listener = Listener(broker.port)
    way = mqtt.Mqtt(f"mqtt://127.0.0.1:{broker.port}/fire", lambda line: None)
    _until(lambda: listener.came)
    # The process dies: no goodbye.
    way._client._sock.shutdown(socket.SHUT_RDWR)
    _until(lambda: ("fire/state", "gone", False) in listener.came)
    # It connects again by itself and says how things stand.
    _until(lambda: listener.came[-1][1] == "lowered" and len(listener.came) == 3)
    way.close()
    listener.close()


def test_a_broker_that_is_away_gets_the_alarm_when_it_is_back(broker):
    said: list[str] = []
    broker.stop()
    way = mqtt.Mqtt(f"mqtt://me:secret@127.0.0.1:{broker.port}/fire", said.append)
    way._client.reconnect_delay_set(0.05, 0.1)
    way.tell(EVENT)
    _until(lambda: said)
    broker.start()
    listener = Listener(broker.port)
    _until(lambda: any(topic == "fire" for topic, _, _ in listener.came))
    _until(lambda: any("is back" in line for line in said))
    way.close()
    listener.close()
    assert said == [f"mqtt://127.0.0.1:{broker.port}/*** does not answer (no connection); it is tried again",
                    f"mqtt://127.0.0.1:{broker.port}/*** is back"]  # fmt: skip


def test_an_end_without_a_broker_comes_and_says_what_was_not_delivered(monkeypatch):
    pytest.importorskip("paho.mqtt.client")
    monkeypatch.setattr(mqtt, "CLOSE_S", 0.2)
    said: list[str] = []
    way = mqtt.Mqtt("mqtt://127.0.0.1:1/fire", said.append)
    way.tell(EVENT)
    way.close()
    assert said[-1] == "what was last told to mqtt://127.0.0.1:1/*** was not delivered"
