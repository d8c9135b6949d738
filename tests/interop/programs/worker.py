"""A queue worker of the platform's own SDK, unmodified. HANDLER chooses what it does with a job."""

import asyncio
import os
import signal
import time

import runpod

# Old releases know neither of the two at the top level of the package.
progress_update = runpod.serverless.progress_update


def note(text):
    """Tells the test what happened, in the order in which it happened."""
    path = os.environ.get("NOTES")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(text + "\n")


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.02)


def plain(job):
    given = job["input"]
    note(f"start {job['id']}")
    if "wait_for" in given:
        wait_for(given["wait_for"])
    if "sleep" in given:
        time.sleep(given["sleep"])
    if "raise" in given:
        raise ValueError(given["raise"])
    if "error" in given:
        return {"error": given["error"], **given.get("with", {})}
    if "bytes" in given:
        return "x" * given["bytes"]
    if given.get("unserialisable"):
        return {"value": object()}
    if given.get("nan"):
        return {"value": float("nan")}
    if given.get("none"):
        return None
    if given.get("empty"):
        return {}
    if given.get("refresh"):
        return {"refresh_worker": True, "pid": os.getpid()}
    if given.get("die"):
        # With its heartbeat process, as a container dies.
        os.killpg(0, signal.SIGKILL)
    note(f"end {job['id']}")
    return {"echo": given, "pid": os.getpid(), "keys": sorted(job.keys())}


async def asynchronous(job):
    given = job["input"]
    note(f"start {job['id']}")
    try:
        for _ in range(int(given.get("sleep", 0) * 50)):
            await asyncio.sleep(0.02)
        while "wait_for" in given and not os.path.exists(given["wait_for"]):
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        note(f"cancelled {job['id']}")
        if given.get("swallow"):
            return {"swallowed": True}
        raise
    if "raise" in given:
        raise RuntimeError(given["raise"])
    return {"echo": given}


def generator(job):
    for index in range(job["input"]["count"]):
        if index == job["input"].get("raise_at"):
            raise ValueError("broke while streaming")
        if index == job["input"].get("error_at"):
            yield {"error": "said so while streaming"}
        yield {"index": index, "text": "é" * job["input"].get("length", 1)}


async def async_generator(job):
    for index in range(job["input"]["count"]):
        await asyncio.sleep(job["input"].get("pause", 0))
        yield index


def progress(job):
    for step in range(3):
        progress_update(job, {"step": step})
        wait_for(f"{job['input']['gates']}/{step}")
    return "done"


HANDLERS = {
    "plain": {"handler": plain},
    "async": {"handler": asynchronous},
    "generator": {"handler": generator},
    "aggregate": {"handler": generator, "return_aggregate_stream": True},
    "async_generator": {"handler": async_generator, "return_aggregate_stream": True},
    "progress": {"handler": progress},
    "concurrent": {"handler": asynchronous, "concurrency_modifier": lambda current: 3},
    "refreshing": {"handler": plain, "refresh_worker": True},
}

if __name__ == "__main__":
    runpod.serverless.start(HANDLERS[os.environ["HANDLER"]])
