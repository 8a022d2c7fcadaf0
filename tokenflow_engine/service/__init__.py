"""The engine as a process: a local socket, authentication, and a queue with one worker.

`engine.serve` runs it. The thread that owns the socket never computes; the worker never touches
the socket.
"""
