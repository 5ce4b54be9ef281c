"""For programs that start Kafka's long-running Java processes (Connect, MirrorMaker, a broker) and talk to them."""

import json
import os
import socket
import subprocess
import urllib.error
import urllib.request

JAVA = ["java", *os.environ.get("JAVA_FLAGS", "").split(), "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
CLASS_PATH = os.environ.get("JARS", "") + "/*"
SCRATCH = os.environ.get("SCRATCH", "")


def free_port():
    """A port nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def write(name, text):
    """Write a file into the scratch folder and return its path."""
    path = os.path.join(SCRATCH, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def properties(name, **settings):
    """Write a properties file; `__` in a name stands for a hyphen, `_` for a dot."""
    lines = [
        "{}={}".format(key.replace("__", "-").replace("_", "."), value) for key, value in settings.items()
    ]
    return write(name, "\n".join(lines) + "\n")


class JavaProcess:
    """A main class that runs until it is stopped; its output goes to a log in the scratch folder."""

    def __init__(self, name, *arguments):
        self.log_path = os.path.join(SCRATCH, name + ".log")
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen([*JAVA, "-cp", CLASS_PATH, *arguments], stdout=log, stderr=log)

    @property
    def has_ended(self):
        """Whether it is gone."""
        return self._process.poll() is not None

    def log(self):
        """What it has written."""
        with open(self.log_path, errors="replace") as log:
            return log.read()

    def kill(self):
        """SIGKILL, and wait."""
        self._process.kill()
        self._process.wait()

    def close(self):
        """SIGTERM, and wait."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def java(*arguments, stdin=""):
    """Run a main class to its end and return what it printed."""
    done = subprocess.run(
        [*JAVA, "-cp", CLASS_PATH, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=90,
    )
    if done.returncode:
        raise AssertionError(f"{arguments[0]} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def rest(method, url, body=None):
    """A JSON request to Connect's REST interface: the answer, or None where nobody listens yet."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"true")
    except urllib.error.HTTPError as error:
        if error.code in (404, 409, 503):  # not there, rebalancing, starting
            return None
        raise
    except (urllib.error.URLError, ConnectionError):
        return None
