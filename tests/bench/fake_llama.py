"""In place of the driver of llama.cpp: answers at once, and notes in its first argument, where the
GGUF file would be, what it was asked."""

import json
import sys

print(json.dumps({"version": "0"}), flush=True)
for line in sys.stdin:
    with open(sys.argv[1], "a", encoding="utf-8") as file:
        file.write(line)
    if json.loads(line).get("length") == 13:
        print(json.dumps({"error": "unlucky"}), flush=True)
        continue
    print(json.dumps({"ms": 2.0, "waiting": 0.5}), flush=True)
