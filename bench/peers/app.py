"""The original's runtime: FastAPI on uvicorn, one worker."""

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Process(BaseModel):
    x: float
    y: float


@app.post("/api/process")
async def process(body: Process):
    return {"result": body.x + body.y}
