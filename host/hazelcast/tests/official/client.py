"""Does with Hazelcast's own client for Python what it is told.

A request is one line of standard input, an answer one line of standard output, both JSON objects:

    {"do": "put", "map": "m", "key": "k", "value": 5, "kind": "integer"}
    {"value": null}

`kind` is what Java is to read an int as: "long", which it is where nothing else is said, or "integer". With
`"begin": true` the answer is given at once, and that of the next `{"do": "finish"}` is the result. What fails or takes too
long is answered `{"error": "..."}`.

The cluster is that of `compose/with-hazelcast`. All locks are held by one thread, except within `increment`.
"""

import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from hazelcast import HazelcastClient
from hazelcast.config import IntType

# How long one answer may take. Whoever asked waits a little longer.
ANSWER_S_MAX = 40


@cache
def client(kind):
    return HazelcastClient(
        cluster_members=os.environ["HZ_CLUSTER_MEMBERS"].split(","),
        cluster_name=os.environ["HZ_CLUSTER_NAME"],
        cluster_connect_timeout=ANSWER_S_MAX,
        default_int_type={"long": IntType.LONG, "integer": IntType.INT}[kind],
    )


def map_of(request):
    return client(request.get("kind", "long")).get_map(request["map"])


def atomic_of(request):
    return client("long").cp_subsystem.get_atomic_long(request["name"])


# What one increment is, by method. The first argument is a map or an atomic long, without futures.


def no_lock(numbers, key):
    numbers.put(key, numbers.get(key) + 1)


def pessimistic(numbers, key):
    numbers.lock(key)
    try:
        no_lock(numbers, key)
    finally:
        numbers.unlock(key)


def optimistic(numbers, key):
    while True:
        found = numbers.get(key)
        if numbers.replace_if_same(key, found, found + 1):
            break


def atomic(number, _key):
    number.add_and_get(1)


METHODS = {"no_lock": no_lock, "pessimistic": pessimistic, "optimistic": optimistic, "atomic": atomic}


class Increments:
    """Increments by `threads` threads: `times` in all, or less where they are told to finish."""

    def __init__(self, request):
        self.method = METHODS[request["method"]]
        self.target = (atomic_of if self.method is atomic else map_of)(request).blocking()
        self.key = request.get("key")
        self.left = iter(range(request["times"]))
        self.finishing = threading.Event()
        self.began = time.monotonic()
        threads = request["threads"]
        pool = ThreadPoolExecutor(threads)
        self.workers = [pool.submit(self.work) for _ in range(threads)]

    def work(self):
        made = 0
        # One iterator for all threads: each number is taken by one of them.
        for _ in self.left:
            if self.finishing.is_set():
                break
            self.method(self.target, self.key)
            made += 1
        return made

    def finish(self):
        self.finishing.set()

    def result(self):
        made = sum(worker.result() for worker in self.workers)
        return {"made": made, "seconds": time.monotonic() - self.began}


# Each begins something and returns what has its result.
CALLS = {
    "get": lambda r: map_of(r).get(r["key"]),
    "put": lambda r: map_of(r).put(r["key"], r["value"]),
    "put_if_absent": lambda r: map_of(r).put_if_absent(r["key"], r["value"]),
    "replace_if_same": lambda r: map_of(r).replace_if_same(r["key"], r["expected"], r["value"]),
    "lock": lambda r: map_of(r).lock(r["key"]),
    "try_lock": lambda r: map_of(r).try_lock(r["key"], timeout=r["timeout_s"]),
    "unlock": lambda r: map_of(r).unlock(r["key"]),
    "atomic_get": lambda r: atomic_of(r).get(),
    "atomic_set": lambda r: atomic_of(r).set(r["value"]),
    "atomic_add_and_get": lambda r: atomic_of(r).add_and_get(r["value"]),
    "increment": Increments,
}


# The futures of the client can't be waited for with a bound, but those of a pool can.
WAITING = ThreadPoolExecutor()


def result_in_time(call):
    return WAITING.submit(call.result).result(ANSWER_S_MAX)


def main():
    begun = None
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            if request["do"] == "finish":
                if isinstance(begun, Increments):
                    begun.finish()
                value = result_in_time(begun)
            else:
                call = CALLS[request["do"]](request)
                if request.get("begin"):
                    begun, value = call, None
                else:
                    value = result_in_time(call)
            answer = {"value": value}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    # Without waiting for what may still wait: the cluster sees the connections end.
    os._exit(0)


main()
