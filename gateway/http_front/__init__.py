"""The REST skin: HTTP/1.1 on uvicorn's parser, the Open Inference Protocol and `/predictions`.

protocol.py   one connection: what is slow, endless or malformed is cut off
app.py        one request: route, key, answer or refusal, its one record
server.py     the listening socket, and how it is closed
"""
