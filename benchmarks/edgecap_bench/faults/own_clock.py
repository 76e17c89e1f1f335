"""A clock of the day that can be set for one process and its children alone, while every other clock stays as it is.

A few lines of C stand before the system's functions (LD_PRELOAD). Not libfaketime: it takes an absolute sleep by the
monotonic clock for one by the clock of the day, so that Python's `time.sleep` returns at once or fails.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

from edgecap_bench.faults.disk import NotPossibleError

VARIABLE = "EDGECAP_FAULTS_CLOCK"
CODE = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long ahead(void) {
    static const volatile long *seconds;
    if (!seconds) {
        const char *path = getenv("EDGECAP_FAULTS_CLOCK");
        int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        void *place = file < 0 ? MAP_FAILED : mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
        if (file >= 0) close(file);
        if (place == MAP_FAILED) return 0;
        seconds = place;
    }
    return *seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += ahead();
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    int failed = syscall(SYS_gettimeofday, now, zone);
    if (!failed) now->tv_sec += ahead();
    return failed;
}

time_t time(time_t *place) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place) *place = now.tv_sec;
    return now.tv_sec;
}
"""


class OwnClock:
    """Processes with these `variables` in their environment have a clock that `set` sets."""

    def __init__(self, folder: Path) -> None:
        """Build it in `folder`. Raises NotPossibleError without a C compiler."""
        compiler, library = shutil.which("cc"), folder / "clock.so"
        if compiler is None:
            raise NotPossibleError("a clock for one process alone needs a C compiler; type: sudo apt install gcc")
        command = [compiler, "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", str(library)]
        done = subprocess.run(command, input=CODE, text=True, capture_output=True, check=False)
        if done.returncode:
            raise NotPossibleError("a clock for one process alone could not be compiled here")
        self._file = os.open(folder / "clock", os.O_RDWR | os.O_CREAT, 0o600)
        self.set(0)
        self.variables = {"LD_PRELOAD": str(library), VARIABLE: str(folder / "clock")}

    def set(self, seconds: int) -> None:
        """Let it be so much fast."""
        os.pwrite(self._file, struct.pack("q", seconds), 0)  # in place: the processes have mapped the file

    def close(self) -> None:
        """Set it no more."""
        os.close(self._file)
