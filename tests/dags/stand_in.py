"""Stands for the work environment's interpreter in tests of what Airflow does with a step's end: steps take no time.

`stand_in.json` of the var folder holds {"step" or "step base": exit code}; all others end with 0. The choice among candidates
is the real one. Where the var folder has a `seen`, each step leaves its environment there.
"""

import json
import os
import sys
from pathlib import Path

step, base = sys.argv[2].removeprefix("legal_tasks."), os.environ.get("LEXLOOP_CANDIDATE", "")
if step == "evaluation.choose":
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
var = Path(os.environ["LEXLOOP_VAR"])
ends = json.loads((var / "stand_in.json").read_text("utf-8"))
if (var / "seen").is_dir():
    (var / "seen" / f"{step}.json").write_text(json.dumps(dict(os.environ)), "utf-8")
code = ends.get(f"{step} {base}", ends.get(step, 0))
note = Path(os.environ["LEXLOOP_RESULT"])
note.parent.mkdir(parents=True, exist_ok=True)
result = {"step": step, "argv": sys.argv[1:], "report": {"formats": {"merged": {"size_bytes": 5}}, "version": "7"}}
if code == 99:
    result |= {"skipped": True, "reason": "unchanged: it serves"}
elif code:
    result |= {"error": f"{step} was told to end with {code}", "exit": code}
else:
    folder = note.with_suffix("")
    folder.mkdir(exist_ok=True)
    right = {"value": 0.9 if base == "embedded-small" else 0.8}
    decision = {"decision": "pass", "mode": "improve", "reasons": [f"{base} is better"], "rules": [], "domain": ["legal_exam"]}
    decision |= {"accuracies": {"legal_exam": right}, "metrics": {}, "domain_bound_reason": ""}
    (folder / "decision.json").write_text(json.dumps(decision))
    (folder / "comparison.json").write_text(json.dumps({"suites": {"legal_exam": {"challenger": right}}}))
    result |= {"artifact": str(folder)}
note.write_text(json.dumps(result))
print(json.dumps(result))
sys.exit(code)
