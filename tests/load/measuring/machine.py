"""Cores, processes, and what /proc says of their time and memory."""
import contextlib
import os
import platform
import resource
import signal
import socket
import subprocess
import time

PROXY_CORE, LOAD_CORE = 0, 1
TICKS = os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 4
PRIORITY = -10  # where allowed: against what else the machine does


def spread_over_cores():
    """Puts this process, and with it the load tool and the upstream, on the load's core."""
    cores = os.sched_getaffinity(0)
    if not {PROXY_CORE, LOAD_CORE} <= cores:
        raise SystemExit(
            f"the bench needs cores {PROXY_CORE} and {LOAD_CORE}, and may use {sorted(cores)}: "
            "give the container or machine two cores"
        )
    pin(LOAD_CORE)


def pin(core):
    os.sched_setaffinity(0, {core})
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
        # A new session is a scheduling group of its own, inside which alone the priority above counts.
        with open("/proc/self/autogroup", "w") as group:
            group.write(str(PRIORITY))


def open_files(wanted):
    """Raises the limit of open files for this process and all it starts, as far as is allowed; what it then is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limits in ((max(soft, wanted), max(hard, wanted)), (hard, hard)):
        if soft < wanted:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                break
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def start(argv, core, env=None, cwd=None, stdout=None, stderr=None):
    def in_child():
        os.setsid()
        pin(core)

    return subprocess.Popen(
        argv,
        preexec_fn=in_child,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=stdout or subprocess.DEVNULL,
        stderr=stderr or subprocess.DEVNULL,
    )


def stop(process):
    """Ends the group that `start` made, and nothing else."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            break
    with contextlib.suppress(ProcessLookupError):  # children that outlived the first process
        os.killpg(process.pid, signal.SIGKILL)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def tree(pid):
    """The process and all below it."""
    children = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            parent = int(_stat(entry)[1])
            children.setdefault(parent, []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        current = todo.pop()
        found.append(current)
        todo += children.get(current, [])
    return found


def _stat(pid):
    """Fields of /proc/PID/stat behind the name: state is 0, parent 1, utime 11, stime 12."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()


def cpu(pid):
    """CPU seconds of a process tree so far: (by ticks, by the schedulers' nanoseconds of its living threads)."""
    ticks = fine = 0.0
    for process in tree(pid):
        with contextlib.suppress(OSError):
            fields = _stat(process)
            ticks += (int(fields[11]) + int(fields[12])) / TICKS
            for thread in os.listdir(f"/proc/{process}/task"):
                with contextlib.suppress(OSError), open(f"/proc/{process}/task/{thread}/schedstat") as file:
                    fine += int(file.read().split()[0]) / 1e9
    return ticks, fine


def cpu_between(before, after):
    """The fine figure, unless threads ended meanwhile and took theirs along: then ticks."""
    ticks, fine = after[0] - before[0], after[1] - before[1]
    return fine if fine >= ticks - 0.05 else ticks


def rss_mib(pid):
    """Resident memory of a process tree, in MiB. Pages that two of its processes share count twice."""
    kib = 0
    for process in tree(pid):
        with contextlib.suppress(OSError), open(f"/proc/{process}/smaps_rollup") as file:
            kib += sum(int(line.split()[1]) for line in file if line.startswith("Rss:"))
    return kib / 1024


def core_times():
    """Per core: (busy ticks, all ticks, ticks stolen by the hypervisor)."""
    found = {}
    with open("/proc/stat") as file:
        for line in file:
            if line.startswith("cpu") and line[3].isdigit():
                name, *fields = line.split()
                ticks = [int(x) for x in fields[:8]]
                found[int(name[3:])] = (sum(ticks) - ticks[3] - ticks[4], sum(ticks), ticks[7])
    return found


def state(seconds=1.0):
    """How busy the machine is when the bench does nothing: load average, and each core's share over `seconds`."""
    before = core_times()
    time.sleep(seconds)
    after = core_times()
    busy = {
        core: round((after[core][0] - before[core][0]) / max(1, after[core][1] - before[core][1]), 2) for core in after
    }
    return {"load_average": [round(x, 2) for x in os.getloadavg()], "busy": busy}


def description():
    model = "unknown"
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), model)
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) // 1024
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_mib": memory,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
