"""Real phones as cameras: pictures that arrive in a folder, over adb, from an app's HTTP server, or from a stream."""
