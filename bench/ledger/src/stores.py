"""Writes records to DuckDB or to the ClickHouse engine, asks meanwhile and afterwards, and says how it went.

python -c PROGRAM MODULE BATCHES FOLDER: MODULE is duckdb or chdb, BATCHES has files of records, FOLDER is for the store.
"""

import glob
import json
import os
import resource
import sys
import threading
import time

DAY, HOUR = 86_400_000_000, 3_600_000_000
ROUNDS = 100
COLUMNS = (
    "time kind verdict node source destination port protocol rule reason count sent received detail".split()
)


def workload(number):
    return f"team-{number % 20}/Deployment/app-{number}"


class DuckDB:
    # A key on edges makes them as cheap to look up as the ledger's.
    TABLES = """
        CREATE TABLE entries (time BIGINT, kind VARCHAR, verdict VARCHAR, node VARCHAR, source VARCHAR, destination VARCHAR,
            port USMALLINT, protocol UTINYINT, rule VARCHAR, reason VARCHAR, count BIGINT, sent BIGINT, received BIGINT,
            detail VARCHAR);
        CREATE TABLE edges (source VARCHAR, destination VARCHAR, port USMALLINT, protocol UTINYINT, first BIGINT, last BIGINT,
            allowed BIGINT, denied BIGINT, sent BIGINT, received BIGINT, PRIMARY KEY (source, destination, port, protocol));
    """
    EDGES = """
        INSERT INTO edges SELECT source, destination, port, protocol, min(time), max(time),
            coalesce(sum(count) FILTER (verdict = 'allow'), 0), coalesce(sum(count) FILTER (verdict <> 'allow'), 0),
            sum(sent), sum(received)
        FROM batch WHERE kind = 'flow' GROUP BY ALL
        ON CONFLICT DO UPDATE SET first = least(first, excluded.first), last = greatest(last, excluded.last),
            allowed = allowed + excluded.allowed, denied = denied + excluded.denied, sent = sent + excluded.sent,
            received = received + excluded.received
    """

    def __init__(self, folder):
        import duckdb

        self.name, self.version = "DuckDB", duckdb.__version__
        self.path = os.path.join(folder, "duck.db")
        self.connection = duckdb.connect(self.path, config={"threads": 2})
        # It would be written among the answers.
        self.connection.execute("SET enable_progress_bar = false")
        self.connection.execute(self.TABLES)
        self.connection.execute("CREATE TEMP TABLE batch AS SELECT * FROM entries LIMIT 0")
        self.asking = self.connection.cursor()

    def write(self, path):
        run = self.connection.execute
        run("BEGIN")
        run("DELETE FROM batch")
        run(f"COPY batch FROM '{path}' (FORMAT csv, DELIMITER '\\t', HEADER false, QUOTE '', ESCAPE '', NULLSTR '\\N')")
        run("INSERT INTO entries SELECT * FROM batch")
        run(self.EDGES)
        run("COMMIT")

    def ask(self, query):
        return self.asking.execute(query).fetchall()

    def bytes(self):
        self.connection.execute("CHECKPOINT")
        return os.path.getsize(self.path)

    EDGES_OF = "SELECT * FROM edges WHERE first >= {since} ORDER BY first DESC LIMIT {most}"


class ClickHouse:
    TABLES = """
        CREATE DATABASE bench;
        CREATE TABLE bench.entries (time Int64, kind LowCardinality(String), verdict LowCardinality(String),
            node LowCardinality(String), source LowCardinality(String), destination LowCardinality(String), port UInt16,
            protocol UInt8, rule LowCardinality(String), reason LowCardinality(String), count Int64, sent Int64,
            received Int64, detail String) ENGINE = MergeTree ORDER BY (source, time);
        CREATE TABLE bench.all_edges (source LowCardinality(String), destination LowCardinality(String), port UInt16,
            protocol UInt8, first SimpleAggregateFunction(min, Int64), last SimpleAggregateFunction(max, Int64),
            allowed SimpleAggregateFunction(sum, Int64), denied SimpleAggregateFunction(sum, Int64),
            sent SimpleAggregateFunction(sum, Int64), received SimpleAggregateFunction(sum, Int64))
            ENGINE = AggregatingMergeTree ORDER BY (source, destination, port, protocol);
        CREATE MATERIALIZED VIEW bench.edges_view TO bench.all_edges AS SELECT source, destination, port, protocol,
            min(time) AS first, max(time) AS last, sumIf(count, verdict = 'allow') AS allowed,
            sumIf(count, verdict <> 'allow') AS denied, sum(sent) AS sent, sum(received) AS received
            FROM bench.entries WHERE kind = 'flow' GROUP BY source, destination, port, protocol;
    """

    def __init__(self, folder):
        import chdb
        from chdb import session

        self.path = os.path.join(folder, "clickhouse")
        self.session = session.Session(self.path)
        version = str(self.session.query("SELECT version()", "TSV")).strip()
        self.name, self.version = "ClickHouse engine (chDB)", f"{version}, chDB {chdb.__version__}"
        for statement in self.TABLES.split(";"):
            if statement.strip():
                self.session.query(statement)

    def write(self, path):
        self.session.query(f"INSERT INTO bench.entries SELECT * FROM file('{path}', 'TSV', '{self.structure()}')")

    @staticmethod
    def structure():
        kinds = dict.fromkeys(COLUMNS, "String") | dict.fromkeys(("time", "count", "sent", "received"), "Int64")
        kinds |= {"port": "UInt16", "protocol": "UInt8"}
        return ", ".join(f"{name} {kind}" for name, kind in kinds.items())

    def ask(self, query):
        return bytes(self.session.query(query.replace("FROM entries", "FROM bench.entries"), "RowBinary").bytes() or b"")

    def bytes(self):
        query = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'bench'"
        return int(str(self.session.query(query, "TSV")).strip())

    # Rows of an edge that are not merged yet are summed up by whoever asks.
    EDGES_OF = """
        SELECT source, destination, port, protocol, min(first) AS begun, max(last), sum(allowed), sum(denied), sum(sent),
            sum(received) FROM bench.all_edges GROUP BY source, destination, port, protocol HAVING begun >= {since}
            ORDER BY begun DESC LIMIT {most}
    """


def ask(store, now, number, times, cpu=None):
    questions = {
        "top": "SELECT source, sum(count), sum(CASE verdict WHEN 'deny' THEN count ELSE 0 END), sum(sent), sum(received) "
        f"FROM entries WHERE kind = 'flow' AND time >= {now - HOUR} GROUP BY source ORDER BY sum(sent + received) DESC LIMIT 20",
        "edges": store.EDGES_OF.format(since=now // DAY * DAY, most=10000),
        "history": f"SELECT * FROM entries WHERE source = '{workload(number * 37 % 400)}' ORDER BY time DESC",
        "first_edges": store.EDGES_OF.format(since=now // DAY * DAY, most=1000),
    }
    for name, query in questions.items():
        begin, used = time.monotonic(), time.process_time()
        store.ask(query)
        times.setdefault(name, []).append(round((time.monotonic() - begin) * 1000, 3))
        if cpu is not None:
            cpu.setdefault(name, []).append(round((time.process_time() - used) * 1000, 3))


def newest(path):
    with open(path, "rb") as file:
        file.seek(-4096, os.SEEK_END)
        return int(file.read().rsplit(b"\n", 2)[-2].split(b"\t", 1)[0])


def main():
    module, batches, folder = sys.argv[1:]
    store = {"duckdb": DuckDB, "chdb": ClickHouse}[module](folder)
    files = sorted(glob.glob(os.path.join(batches, "*.tsv")))
    during, after, used, state = {}, {}, {}, {"now": newest(files[0]), "ends": False}

    def meanwhile():
        number = 0
        while not state["ends"]:
            begin = time.monotonic()
            ask(store, state["now"], number, during)
            number += 1
            time.sleep(max(0, 1 - (time.monotonic() - begin)))

    store.write(files[0])
    reader = threading.Thread(target=meanwhile)
    cpu, begin = time.process_time(), time.monotonic()
    reader.start()
    for path in files[1:]:
        store.write(path)
        state["now"] = newest(path)
    wall, cpu = time.monotonic() - begin, time.process_time() - cpu
    state["ends"] = True
    reader.join()
    for number in range(ROUNDS):
        ask(store, state["now"], number, after, used)
    rows = sum(1 for path in files for _ in open(path, "rb"))
    first = sum(1 for _ in open(files[0], "rb"))
    # The first file was written before the time began.
    print(json.dumps({
        "store": store.name, "version": store.version, "records": rows - first, "rows": rows, "batch": first,
        "writing_seconds": wall, "writing_cpu_seconds": cpu, "bytes": store.bytes(),
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "during": during, "after": after, "after_cpu": used,
    }))


main()
