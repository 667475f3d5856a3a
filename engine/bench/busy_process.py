"""A neighbour that keeps one core busy while it is told to; a program of its own.

``python -I busy_process.py`` reads ``busy`` and ``idle``, one a line, says each word again when it
has been done, and ends with its input: so it outlives nobody who started it, whatever ends that.
"""

import signal
import sys
import threading


def main() -> None:
    # Ctrl-C reaches a whole group of processes; this one ends with its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    is_busy = threading.Event()
    threading.Thread(target=_work, args=(is_busy,), daemon=True).start()
    for line in sys.stdin:
        word = line.strip()
        if word == "busy":
            is_busy.set()
        else:
            is_busy.clear()
        sys.stdout.write(word + "\n")
        sys.stdout.flush()


def _work(is_busy: threading.Event) -> None:
    while is_busy.wait():
        sum(range(10_000))


if __name__ == "__main__":
    main()
