"""Deliver a message through the Connections in the environment; print who took it and what the others said."""

import json
import os
import sys

import notify

question = json.loads(sys.argv[1])
message = notify.Message(**question["message"])
taken, trouble = notify.deliver(message, notify.channels())
answer = {"taken": taken, "trouble": trouble}
print(json.dumps(answer))
sys.stdout.flush()
os._exit(0)
