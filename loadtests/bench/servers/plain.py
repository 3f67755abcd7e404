"""A WebSocket as FastAPI's documentation has it, on uvicorn as it comes: nobody signs in, nothing is looked at."""

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()


@app.websocket("/ws/{session}")
async def stay(websocket: WebSocket, session: str) -> None:
    """Greet, and wait for what never comes."""
    await websocket.accept()
    await websocket.send_text(f"hello {session}")
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        return
