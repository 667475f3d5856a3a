"""How fast the engine is, beside what the machine could do: `nemodiff bench forward|prefill|...`.

Imports nothing by itself: the command line reads the names below without torch.
"""

CASES = {
    "forward": "one model pass: by mode, block size, rows and cached length",
    "prefill": "reading a cold prompt, by its length",
    "completion": "time to a completion of some tokens, warm and cold, by mode",
    "cancel": "from the cancel flag to an idle loop",
    "memory": "what the process holds, stage by stage",
    "all": "everything above",
}
