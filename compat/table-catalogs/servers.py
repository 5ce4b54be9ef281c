"""A Hive metastore and Iceberg's REST server, as processes that are killed and come back on the same port.

servers.py FILE DATABASE writes the metastore's settings.
"""

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from hive_metastore.ThriftHiveMetastore import Client
from hive_metastore.ttypes import ShowLocksRequest
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport, TTransportException

START_LIMIT_S = 90.0
JAVA = ["java", *os.environ.get("JAVA_FLAGS", "").split(), "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]


def write_settings(path, database):
    """Hive's own defaults but for where things are; what else is here is what PySpark's jars lack."""
    settings = {
        "javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={database};create=true",
        "javax.jdo.option.ConnectionDriverName": "org.apache.derby.jdbc.EmbeddedDriver",
        "hive.metastore.warehouse.dir": f"{database}.warehouse",
        "datanucleus.schema.autoCreateAll": "true",  # for want of schematool
        "hive.metastore.schema.verification": "false",
        "datanucleus.connectionPoolingType": "none",
        "hive.async.log.enabled": "false",
    }
    lines = (
        f"<property><name>{name}</name><value>{text}</value></property>" for name, text in settings.items()
    )
    Path(path).write_text(f"<configuration>{''.join(lines)}</configuration>")


class Server:
    """A Java process. `uri` is what Floe and other engines are told."""

    def __init__(self, scratch, port):
        self.scratch = scratch
        self.port = port
        self._process = None

    def start(self):
        """Start it and wait until it answers."""
        with (self.scratch / "server.log").open("ab") as log:
            command = [*JAVA, "-cp", os.environ["CLASS_PATH"], *self.main]
            environment = {**os.environ, **self.environment}
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + START_LIMIT_S
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("the server did not start: " + self.log()[-400:])
            time.sleep(0.05)

    def kill(self):
        """SIGKILL, and wait."""
        self._process.kill()
        self._process.wait()

    def log(self):
        """What it has written."""
        return (self.scratch / "server.log").read_text(errors="replace")


class HiveMetastore(Server):
    """With a copy of the database that was made when it was installed."""

    environment = {}

    def __init__(self, scratch, port):
        super().__init__(scratch, port)
        (scratch / "conf").mkdir()
        shutil.copytree(os.environ["DATABASE"], scratch / "database")
        write_settings(scratch / "conf/hive-site.xml", scratch / "database")
        self.uri = f"thrift://127.0.0.1:{port}"
        # Derby's way of finding that two of the metastore's threads wait for each other is to wait for so many seconds.
        words = f"-Dderby.stream.error.file={scratch / 'derby.log'}"
        self.main = ["-Dderby.locks.deadlockTimeout=1", words, "Metastore", "-p", str(port)]

    @contextmanager
    def client(self):
        """Hive's interface as it is."""
        transport = TBufferedTransport(TSocket("127.0.0.1", self.port))
        transport.open()
        try:
            yield Client(TBinaryProtocol(transport))
        finally:
            transport.close()

    def answers(self):
        """Whether it is up."""
        try:
            with self.client() as client:
                return bool(client.get_all_databases())
        except TTransportException:
            return False

    def locks(self, client, table):
        """Ids of the locks of a table, which is `namespace.name`."""
        dbname, _, tablename = table.partition(".")
        return [one.lockid for one in client.show_locks(ShowLocksRequest(dbname, tablename)).locks]


class RestServer(Server):
    """Iceberg's own, in front of a SQL catalog."""

    main = ["org.apache.iceberg.rest.RESTCatalogServer"]

    def __init__(self, scratch, port):
        super().__init__(scratch, port)
        self.uri = f"http://127.0.0.1:{port}/"
        self.environment = {
            "CATALOG_REST_PORT": str(port),
            "CATALOG_CATALOG__IMPL": "org.apache.iceberg.jdbc.JdbcCatalog",
            "CATALOG_URI": f"jdbc:sqlite:{scratch}/rest.db",
            "CATALOG_JDBC_SCHEMA__VERSION": "V1",
            "CATALOG_WAREHOUSE": f"file://{scratch}/warehouse",
        }

    def answers(self):
        """Whether it is up."""
        try:
            with urllib.request.urlopen(self.uri + "v1/config", timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError):
            return False


if __name__ == "__main__":
    write_settings(*sys.argv[1:])
