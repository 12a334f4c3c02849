"""A stand-in for kubectl: runs the pod of a job here, and answers as a cluster would. `$PODS` is its memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

pods = Path(os.environ["PODS"])
command, *rest = sys.argv[1:]
if command == "create":
    job = json.load(sys.stdin)
    name, pod = job["metadata"]["name"], job["spec"]["template"]["spec"]
    (pods / f"{name}.json").write_text(json.dumps(job))
    (container,) = pod["containers"]
    script = 'code=1; "$@" && code=0; echo $code > "$0"'
    subprocess.Popen(
        ["sh", "-c", script, str(pods / f"{name}.exit"), *container["command"]],
        cwd=container["workingDir"],
        stdout=subprocess.DEVNULL,
        stderr=(pods / f"{name}.log").open("w"),
        start_new_session=True,
    )
    print(f"job.batch/{name} created")
elif command == "get":
    ended = pods / f"{rest[1]}.exit"
    code = ended.read_text().strip() if ended.exists() else ""
    kinds = {"0": "Complete", "1": "Failed"}
    conditions = [{"type": kinds[code], "status": "True"}] if code else []
    print(json.dumps({"status": {"conditions": conditions}}))
else:
    sys.exit(f"{command}: not known here")
