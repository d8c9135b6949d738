"""The platform's own asyncio client, unmodified. Prints what every call gave, as JSON."""

import asyncio
import json
import sys

import aiohttp
import runpod

given = json.loads(sys.argv[1])
runpod.api_key = given["key"]
runpod.endpoint_url_base = given["base"]

# Not exported at the top: the module of the same name is.
from runpod.endpoint.asyncio.asyncio_runner import Endpoint  # noqa: E402


async def until(job, state):
    while await job.status() != state:
        await asyncio.sleep(0.05)


async def main():
    seen = {}
    async with aiohttp.ClientSession() as session:
        add = Endpoint(given["add"], session)
        job = await add.run({"x": 2, "y": 3})
        seen["output"] = await job.output(timeout=30)
        seen["status"] = await job.status()
        seen["many"] = await asyncio.gather(
            *[(await add.run({"x": index, "y": 0})).output(timeout=60) for index in range(20)]
        )

        failed = await Endpoint(given["fail"], session).run({"message": "no such model"})
        seen["failed"] = [await failed.output(timeout=30), await failed.status()]

        counted = await Endpoint(given["count"], session).run({"to": 5})
        seen["stream"] = [chunk async for chunk in counted.stream()]

        hang = Endpoint(given["hang"], session)
        running = await hang.run({"label": "running"})
        await until(running, "IN_PROGRESS")
        waiting = [await hang.run({"label": str(index)}) for index in range(2)]
        seen["health"] = await hang.health()
        seen["purge"] = await hang.purge_queue()
        seen["purged"] = [await one.status() for one in waiting]
        seen["cancel"] = [await running.cancel(), await running.status()]

        long = await hang.run({"label": "long"})
        try:
            await long.output(timeout=1)
        except TimeoutError as error:
            seen["timeout"] = str(error)
        await long.cancel()
    print(json.dumps(seen))


asyncio.run(main())
