"""The platform's own synchronous Python client, unmodified. Prints what every call gave, as JSON."""

import json
import sys

import runpod

given = json.loads(sys.argv[1])
runpod.api_key = given["key"]
# Before the first endpoint: the client copies it then.
runpod.endpoint_url_base = given["base"]

seen = {}


def tried(call):
    try:
        return {"value": call()}
    except Exception as error:  # pylint: disable=broad-except
        return {"error": f"{type(error).__name__}: {error}"}


add = runpod.Endpoint(given["add"])
job = add.run({"x": 2, "y": 3})
seen["output"] = job.output(timeout=30)
seen["status"] = job.status()
seen["run_sync"] = add.run_sync({"input": {"x": 20, "y": 22}, "policy": {"ttl": 60000}})
seen["refused"] = tried(lambda: add.run({"x": "two", "y": 3}).job_id)

fail = runpod.Endpoint(given["fail"])
failed = fail.run({"message": "no such model"})
failed.output(timeout=30)
seen["failed"] = [failed.status(), failed.output()]
seen["failed_sync"] = fail.run_sync({"message": "no such model"})

count = runpod.Endpoint(given["count"])
seen["stream"] = list(count.run({"to": 5}).stream())
seen["stream_of_no_generator"] = list(add.run({"x": 1, "y": 1}).stream())

hang = runpod.Endpoint(given["hang"])
running = hang.run({"label": "running"})
while running.status() != "IN_PROGRESS":
    pass
queued = hang.run({"label": "queued"})
seen["health"] = hang.health()
seen["cancel_queued"] = [queued.cancel(), queued.status()]
seen["cancel_running"] = [running.cancel(), running.status()]
seen["stream_of_cancelled"] = tried(lambda: list(running.stream()))

blocking = hang.run({"label": "blocking"})
while blocking.status() != "IN_PROGRESS":
    pass
waiting = [hang.run({"label": f"waiting {index}"}) for index in range(3)]
seen["purge"] = hang.purge_queue()
seen["purged"] = [one.status() for one in waiting]
blocking.cancel()

seen["unknown_job"] = tried(lambda: runpod.endpoint.runner.Job(given["add"], "nothing-u1", add.rp_client).status())
seen["unknown_endpoint"] = tried(lambda: runpod.Endpoint("nothing").run({"x": 1}))
seen["wrong_key"] = tried(lambda: runpod.Endpoint(given["add"], api_key="wrong").run({"x": 1, "y": 1}))

print(json.dumps(seen))
