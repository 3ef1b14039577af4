"""Ends the processes that a process has started when it ends, also if it is killed."""

import os
import subprocess

_WAIT_AND_KILL = 'exec 3<&0; { read -r _ <&3; kill -s KILL -- "-$0"; } &'
"""The shell that waits is a grandchild, as Ray kills the children of a worker that it ends."""
_LIFELINE: list[int] = []
"""The end of a pipe that this process holds until its end."""


def end_with_this_process() -> None:
    """Makes this process the leader of a process group, and has the group killed when this process has ended.

    A killed worker cannot end what it has started, and Ray ends only its children: the processes that vLLM's own process
    starts would continue to load a model, and occupy the GPU memory that the next engine needs. So a shell waits at a
    pipe that only this process holds open.
    """
    if _LIFELINE:
        return
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    read_end, write_end = os.pipe()  # not inherited by what this process starts
    _LIFELINE.append(write_end)
    subprocess.run(
        ["/bin/sh", "-c", _WAIT_AND_KILL, str(os.getpgrp())],
        stdin=read_end,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=True,
    )
    os.close(read_end)
