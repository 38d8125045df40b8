"""One worker, started by `gateway.workers.fleet`; the arguments are two file descriptors, see `link`.  [IO]"""

from __future__ import annotations

import asyncio
import socket
import sys

import uvloop
from threadpoolctl import threadpool_limits

from gateway.workers.worker import work

with threadpool_limits(1, user_api="blas"), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(work(*(socket.socket(fileno=int(number)) for number in sys.argv[1:3])))
