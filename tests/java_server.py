"""A stand-in for a running Micro-Manager: answers pycro-manager's wire protocol, with the real core's demo devices.

Run as a program in a process of its own: ``python java_server.py PORT``. It prints ``STARTED``, and takes orders on its
standard input, one a line: ``slow SECONDS`` (the next reply comes late), ``die`` (ends at the next call, without a
reply), ``half`` (the next picture lacks its lower half), ``version X`` (what is told to the next client).

Written after what pyjavaz sends and expects, and after Micro-Manager's ZMQServer: objects are handed out by hash code
with a description of their methods, overloads one by one; vectors of strings and rectangles are objects too; pictures
are flat arrays; an exception comes as a Java stack trace.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import mm_test_adapters
import numpy as np
import pymmcore
import zmq

STRING, BOOL, INT, LONG, DOUBLE = "java.lang.String", "boolean", "int", "long", "double"
VECTOR, RECTANGLE = "mmcorej.StrVector", "java.awt.Rectangle"

# The methods of mmcorej.CMMCore that are called: name, what it returns, its overloads.
CORE_API = {
    "clearROI": ("void", [[]]),
    "enableContinuousFocus": ("void", [[BOOL]]),
    "fullFocus": ("void", [[]]),
    "getAllowedPropertyValues": (VECTOR, [[STRING, STRING]]),
    "getAutoFocusDevice": (STRING, [[]]),
    "getAvailableConfigGroups": (VECTOR, [[]]),
    "getAvailableConfigs": (VECTOR, [[STRING]]),
    "getBytesPerPixel": (LONG, [[]]),
    "getCameraDevice": (STRING, [[]]),
    "getChannelGroup": (STRING, [[]]),
    "getCurrentConfig": (STRING, [[STRING]]),
    "getDevicePropertyNames": (VECTOR, [[STRING]]),
    "getExposure": (DOUBLE, [[], [STRING]]),
    "getFocusDevice": (STRING, [[]]),
    "getImage": ("java.lang.Object", [[], [LONG]]),
    "getImageBitDepth": (LONG, [[]]),
    "getImageHeight": (LONG, [[]]),
    "getImageWidth": (LONG, [[]]),
    "getLoadedDevices": (VECTOR, [[]]),
    "getNumberOfComponents": (LONG, [[]]),
    "getPixelSizeUm": (DOUBLE, [[], [BOOL]]),
    "getPosition": (DOUBLE, [[STRING], []]),
    "getProperty": (STRING, [[STRING, STRING]]),
    "getROI": (RECTANGLE, [[], [STRING], ["int[]"] * 4]),
    "getShutterDevice": (STRING, [[]]),
    "getShutterOpen": (BOOL, [[], [STRING]]),
    "getStateLabel": (STRING, [[STRING]]),
    "getVersionInfo": (STRING, [[]]),
    "getXPosition": (DOUBLE, [[STRING], []]),
    "getYPosition": (DOUBLE, [[STRING], []]),
    "getXYStageDevice": (STRING, [[]]),
    "hasProperty": (BOOL, [[STRING, STRING]]),
    "isContinuousFocusEnabled": (BOOL, [[]]),
    "isPropertyReadOnly": (BOOL, [[STRING, STRING]]),
    "isSequenceRunning": (BOOL, [[], [STRING]]),
    "setAutoFocusDevice": ("void", [[STRING]]),
    "setAutoShutter": ("void", [[BOOL]]),
    "setCameraDevice": ("void", [[STRING]]),
    "setChannelGroup": ("void", [[STRING]]),
    "setConfig": ("void", [[STRING, STRING]]),
    "setExposure": ("void", [[DOUBLE], [STRING, DOUBLE]]),
    "setFocusDevice": ("void", [[STRING]]),
    "setPosition": ("void", [[STRING, DOUBLE], [DOUBLE]]),
    "setProperty": (
        "void", [[STRING, STRING, STRING], [STRING, STRING, BOOL], [STRING, STRING, LONG], [STRING, STRING, DOUBLE]]
    ),
    "setROI": ("void", [[INT, INT, INT, INT], [STRING, INT, INT, INT, INT]]),
    "setShutterDevice": ("void", [[STRING]]),
    "setShutterOpen": ("void", [[BOOL], [STRING, BOOL]]),
    "setTimeoutMs": ("void", [[INT]]),
    "setXYPosition": ("void", [[STRING, DOUBLE, DOUBLE], [DOUBLE, DOUBLE]]),
    "setXYStageDevice": ("void", [[STRING]]),
    "snapImage": ("void", [[]]),
    "startContinuousSequenceAcquisition": ("void", [[DOUBLE]]),
    "stopSequenceAcquisition": ("void", [[]]),
    "waitForConfig": ("void", [[STRING, STRING]]),
    "waitForDevice": ("void", [[STRING]]),
}
VECTOR_API = {"size": (INT, [[]]), "get": (STRING, [[INT]]), "isEmpty": (BOOL, [[]])}
# A rectangle has a size too, but is no list.
RECTANGLE_API = {"size": ("java.awt.Dimension", [[]]), "getX": (DOUBLE, [[]]), "isEmpty": (BOOL, [[]])}
RECTANGLE_FIELDS = ("x", "y", "width", "height", "OUT_LEFT", "OUT_TOP")


def described(api):
    return [
        {"name": name, "arguments": arguments, "return-type": returns}
        for name, (returns, overloads) in api.items() for arguments in overloads
    ]


class Strings:
    """Java's vector of strings."""

    def __init__(self, values):
        self.values = list(values)

    def size(self):
        return len(self.values)

    def get(self, index):
        return self.values[index]


class Server:
    def __init__(self, core):
        self.core = core
        self.objects = {}
        self.delay_s = 0.0
        self.dies = self.halves = False
        self.version = "5.1.0"

    def obey(self, line):
        order, _, value = line.strip().partition(" ")
        if order == "slow":
            self.delay_s = float(value)
        elif order == "version":
            self.version = value
        elif order == "die":
            self.dies = True
        elif order == "half":
            self.halves = True

    def answer(self, message):
        try:
            return getattr(self, message["command"].replace("-", "_"))(message)
        except Exception as error:  # noqa: BLE001 (as the Java server does)
            trace = (
                f"java.lang.Exception: {error}\n\tat mmcorej.MMCoreJJNI.CMMCore_call(Native Method)\n"
                f"\tat mmcorej.CMMCore.call(CMMCore.java:1)\n"
            )
            return {"type": "exception", "value": trace}

    def connect(self, message):
        return {"type": "none", "version": self.version}

    def get_constructors(self, message):
        return {"type": "none", "api": [{"name": message["classpath"], "arguments": []}]}

    def constructor(self, message):
        if message["classpath"] != "mmcorej.CMMCore":
            raise RuntimeError(f"No class {message['classpath']}")
        return self.handed_out(self.core, "mmcorej.CMMCore", CORE_API)

    def destructor(self, message):
        self.objects.pop(message["hash-code"], None)
        return {"type": "none"}

    def get_field(self, message):
        return self.serialised(getattr(self.objects[message["hash-code"]], message["name"]))

    def run_method(self, message):
        target, name = self.objects[message["hash-code"]], message["name"]
        api = CORE_API if target is self.core else VECTOR_API
        if message["argument-types"] not in api[name][1]:
            raise RuntimeError("No Matching method found with argumetn types")
        if self.dies:
            sys.exit(3)
        delay_s, self.delay_s = self.delay_s, 0.0
        time.sleep(delay_s)
        value = getattr(target, name)(*message["arguments"])
        if name == "getImage":
            return self.picture(value)
        if name == "getROI":
            rectangle = SimpleNamespace(**dict(zip(("x", "y", "width", "height"), value, strict=True)))
            return self.handed_out(rectangle, RECTANGLE, RECTANGLE_API, fields=RECTANGLE_FIELDS)
        return self.serialised(value)

    def picture(self, frame):
        """Java's arrays: bytes for 8 bit a channel, shorts for 16, each without rows."""
        words = "short-array" if frame.dtype.itemsize in (2, 8) else "byte-array"
        flat = frame.tobytes()
        if self.halves:
            self.halves, flat = False, flat[: len(flat) // 2]
        return {"type": words, "value": flat}

    def serialised(self, value):
        if value is None:
            return {"type": "null"}
        if isinstance(value, str):
            return {"type": "string", "value": value}
        if isinstance(value, (bool, int, float)):
            return {"type": "primitive", "value": value}
        return self.handed_out(Strings(value), VECTOR, VECTOR_API)

    def handed_out(self, value, name, api, fields=()):
        code = uuid.uuid4().hex
        self.objects[code] = value
        return {
            "type": "unserialized-object", "class": name, "hash-code": code, "interfaces": [name],
            "fields": list(fields), "api": described(api),
        }


def sent(reply):
    """A reply in parts: JSON, then the bytes of arrays, each after its number."""
    if not isinstance(reply.get("value"), bytes):
        return [json.dumps(reply).encode("iso-8859-1")]
    number = np.random.default_rng().integers(1, 2**31 - 1, dtype=np.int32)
    named = reply | {"value": f"@{int(number):x}"}
    return [json.dumps(named).encode("iso-8859-1"), int(number).to_bytes(4, sys.byteorder), reply["value"]]


def main():
    libraries = Path(mm_test_adapters.__file__).parent / "libs"
    core = pymmcore.CMMCore()
    core.setDeviceAdapterSearchPaths([str(libraries)])
    core.loadSystemConfiguration(str(libraries / "MMConfig_demo.cfg"))
    server = Server(core)
    replies = zmq.Context.instance().socket(zmq.REP)
    replies.bind(f"tcp://127.0.0.1:{sys.argv[1]}")
    print("STARTED", flush=True)

    def listen():
        for line in sys.stdin:
            server.obey(line)
            print("OBEYED", flush=True)
        # The test that started it is gone.
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        message = json.loads(replies.recv_multipart()[0].decode("iso-8859-1"))
        replies.send_multipart(sent(server.answer(message)))


if __name__ == "__main__":
    main()
