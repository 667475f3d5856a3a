"""How fast the engine is, beside what the machine could do: `nemodiff bench forward|prefill|...`.

Imports nothing by itself: the command line reads the names below without torch.
"""

CASES = {
    "forward": "one model pass: by mode, block size, rows and cached length",
    "cycles": "a warm completion by linear self-speculation, at an acceptance that is told",
    "prefill": "reading a cold prompt, by its length",
    "completion": "time to a completion of some tokens, warm and cold, by mode",
    "compare": "a warm completion of 16 tokens in modes auto and ar, and of the peers",
    "contention": "a pass and a warm completion beside busy processes",
    "cancel": "from the cancel flag to an idle loop",
    "memory": "what the process holds, stage by stage",
    "all": "everything above, and the language server end to end",
    "kernels": "each GPU kernel beside plain torch, by the shape of the model",
}
