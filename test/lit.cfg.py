# Configuration of lit. Tests are run by `ninja check-mhc`, or some of them by `lit -v build/test --filter NAME`.
import os
import shutil
import subprocess

import lit.formats

config.name = "mhc"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs", "unit"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.mhc_binary_root, "test")

config.environment["PATH"] = os.pathsep.join([config.mhc_tools_dir, config.llvm_tools_dir, config.environment.get("PATH", "")])
config.substitutions.append(("%python", config.python))
config.substitutions.append(("%examples", os.path.join(config.mhc_source_root, "examples")))

# Features: what a test may ask for by REQUIRES.
# Debian's numpy belongs to Debian's Python, which need not be the first one on PATH.
for python in ("/usr/bin/python3", config.python):
    if os.path.exists(python) and subprocess.run([python, "-c", "import numpy"], capture_output=True).returncode == 0:
        config.available_features.add("numpy")
        config.substitutions.append(("%numpy", python))
        break
if os.path.exists(os.path.join(config.mhc_tools_dir, "mhc-run")):
    config.available_features.add("mhc-run")
if shutil.which("ptxas", path=config.environment["PATH"] + os.pathsep + "/usr/local/cuda/bin"):
    config.available_features.add("ptxas")
else:
    lit_config.note("ptxas was not found (on PATH, in /usr/local/cuda/bin): PTX is written but not assembled")
config.substitutions.append(("%mlir_include", os.path.join(os.path.dirname(config.llvm_tools_dir), "include")))
if shutil.which("mlir-tblgen", path=config.environment["PATH"]):
    config.available_features.add("mlir-tblgen")
else:
    lit_config.note("mlir-tblgen was not found (package mlir-22-tools): docs/reference is not compared")
for tool in ("unzip", "readelf"):
    if shutil.which(tool, path=config.environment["PATH"]):
        config.available_features.add(tool)
