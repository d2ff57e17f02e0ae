"""A pretended Slurm and Ray: programs that stand in for srun, scontrol, scancel, ray, dexsearch.

PretendedSlurm(folder).start("exit 5")    # what `dexsearch tune` does, in bash
"""

import os
import subprocess
import sys
from pathlib import Path

_SRUN = 'while [[ $1 != bash ]]; do shift; done; exec "$@"'
_SCONTROL = """\
if [[ $1 == show ]]; then printf "node1\\nnode2\\n"; exit; fi
echo "$*" >>"$LAB/requeued"
exit REFUSAL"""
_SCANCEL = 'echo "$*" >>"$LAB/cancelled"; kill $(cat "$LAB"/node_*) 2>/dev/null'
_RAY = """\
if [[ $1 == status ]]; then printf " 1 %s\\n" $(basename --multiple "$LAB"/node_*); exit; fi
echo "$*" >>"$LAB/started"
(($(wc -l <"$LAB/started") > FAILING)) || exit 1
env | grep ^RAY >>"$LAB/environment"
stat --format=%a "$RAY_AUTH_TOKEN_PATH" "$(dirname "$RAY_AUTH_TOKEN_PATH")" >>"$LAB/rights"
port=0
for word; do [[ $word != --port=* ]] || port=${word#*=}; done
echo $$ >"$LAB/node_$$"
[[ $* != *--head* ]] || echo "head=$$ step=$PPID" >"$LAB/head"
exec PYTHON -c "
import signal, socket
server = socket.create_server(('127.0.0.1', $port))
signal.pause()"
"""
_DEXSEARCH = 'echo "$*" >"$LAB/tune"; echo $$ >"$LAB/driver"; '


class PretendedSlurm:
    """A folder of programs and what they were told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()

    def start(
        self,
        driver: str,
        *arguments: str,
        script: Path,
        restarts: int = 0,
        n_failing_starts: int = 0,
        refuses_to_queue: bool = False,
    ) -> subprocess.Popen[str]:
        """Start the batch script as Slurm would, with `driver` for `dexsearch` (bash)."""
        self._write("srun", _SRUN)
        self._write("scontrol", _SCONTROL.replace("REFUSAL", str(int(refuses_to_queue))))
        self._write("scancel", _SCANCEL)
        self._write(
            "ray", _RAY.replace("PYTHON", sys.executable).replace("FAILING", str(n_failing_starts))
        )
        self._write("dexsearch", _DEXSEARCH + driver)
        environment = {
            "PATH": f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.folder),
            "LAB": str(self.folder),
            "SLURM_JOB_ID": str(os.getpid()),
            "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_RESTART_COUNT": str(restarts),
            "SLURM_GPUS_ON_NODE": "3",
            "DEXSEARCH_HEAD_IP": "127.0.0.1",
            "RAY_AUTH_TOKEN": "of another cluster",
        }
        return subprocess.Popen(
            ["bash", str(script), *arguments], env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def told(self, name: str) -> str:
        """Return what a program wrote down; nothing if it was not called."""
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def left(self) -> list[int]:
        """Return the processes of Ray that are still there."""
        pids = [int(path.read_text()) for path in self.folder.glob("node_*")]
        return [pid for pid in pids if Path(f"/proc/{pid}").exists()]

    def _write(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/usr/bin/env bash\n{body}\n")
        path.chmod(0o755)
