"""nodectl's side of the fan-out benchmark: a program of its own, so that its start and imports are counted as well.

python client.py USER KEY KNOWN_HOSTS PORT FANOUT SCRIPT HOST_FILE   prints how many hosts sent the last line.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from queue import Empty, SimpleQueue

from nodectl.model import Node
from nodectl.transport import Request, SshSettings, open_transports

END = os.environ["NODECTL_BENCH_END"].encode()


class Sink:
    """Keeps the reply; complete when the last line has come."""

    def __init__(self) -> None:
        self.data = bytearray()

    def feed(self, data: bytes) -> bool:
        at = max(0, len(self.data) - len(END))
        self.data += data
        return self.data.find(END, at) >= 0

    def due_in_s(self) -> float | None:
        return None


def main() -> int:
    user, key, known_hosts, port, fanout, script, host_file = sys.argv[1:]
    nodes = [Node(name=name, user=user, port=int(port)) for name in Path(host_file).read_text().split()]

    def resolve(node: Node) -> SshSettings:
        return SshSettings(
            hostname=node.name,
            port=node.port or 22,
            user=user,
            identity_files=(key,),
            identities_only=True,
            identity_agent="none",
            known_hosts_files=(known_hosts,),
        )

    request = Request(stdin=Path(script).read_bytes(), deadline_s=600, connect_timeout_s=60)
    waiting: SimpleQueue[Node] = SimpleQueue()
    for node in nodes:
        waiting.put(node)
    good: list[str] = []

    def work() -> None:
        while True:
            try:
                node = waiting.get_nowait()
            except Empty:
                return
            sink = Sink()
            reply = transports.run(node, request, sink)
            if reply.reason is None and END in sink.data:
                good.append(node.name)
            else:
                print(reply.reason, file=sys.stderr)

    with open_transports(nodes, resolve=resolve, fanout=int(fanout)) as transports:
        threads = [threading.Thread(target=work) for _ in range(min(int(fanout), len(nodes)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(len(good))
    return 0


if __name__ == "__main__":
    sys.exit(main())
