# Configuration of lit. Tests are run by `ninja check-mhc`, or some of them by `lit -v build/test --filter NAME`.
import os
import shutil

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
if os.path.exists(os.path.join(config.mhc_tools_dir, "mhc-run")):
    config.available_features.add("mhc-run")
if shutil.which("ptxas", path=config.environment["PATH"] + os.pathsep + "/usr/local/cuda/bin"):
    config.available_features.add("ptxas")
for tool in ("unzip", "readelf"):
    if shutil.which(tool, path=config.environment["PATH"]):
        config.available_features.add(tool)
