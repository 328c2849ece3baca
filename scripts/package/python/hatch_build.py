"""With OUTPUTFS_WHEEL_BINARY the wheel carries the program, and is one for this kind of machine; without, it is the client alone."""

import os
import platform

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Program(BuildHookInterface):
    def initialize(self, version, build_data):
        program = os.environ.get("OUTPUTFS_WHEEL_BINARY")
        if program:
            build_data["shared_scripts"][os.path.join(self.root, program)] = "outputfs"
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-manylinux_2_28_{platform.machine()}"
