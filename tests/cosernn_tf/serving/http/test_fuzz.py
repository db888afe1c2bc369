"""The API against its own description, by schemathesis: no input that it makes is our failure."""

import re
import subprocess
import sys

EXAMPLES = 60
"""Of each route, beside those that cover each constraint."""


def test_what_is_made_from_the_description_is_answered_as_described(server, tmp_path, capsys):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from schemathesis.cli import schemathesis; schemathesis()",
            "run",
            f"http://127.0.0.1:{server.port}/openapi.json",
            "--checks=all",
            # What is valid depends on the clock, and on the run that answers.
            "--exclude-checks=positive_data_acceptance",
            f"--max-examples={EXAMPLES}",
            "--phases=examples,coverage,fuzzing",
            "--seed=1",
            "--suppress-health-check=all",
            "--continue-on-failure",
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (count,) = re.findall(r"(\d+) generated", done.stdout)
    assert int(count) > 500
    statuses: dict[str, float] = {}
    for line in server.get("/metrics").body.decode().splitlines():
        if found := re.match(r'cosernn_requests_total{.*status="(\d+)"} (.*)', line):
            status = found[1]
            statuses[status] = statuses.get(status, 0) + float(found[2])
    with capsys.disabled():
        print(f"\nschemathesis: {count} cases; answers by status: {statuses}")
    assert not [status for status in statuses if status >= "500"]
    assert statuses["200"] > 100
    assert statuses["422"] > 100
