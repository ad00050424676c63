"""Checks a package from outside with Python's own modules, and prints what FileCheck looks at."""
import hashlib
import json
import sys
import zipfile

with zipfile.ZipFile(sys.argv[1]) as package:
    assert package.testzip() is None
    members = package.infolist()
    for member in members:
        assert member.compress_type == zipfile.ZIP_STORED, member
        assert member.date_time == (1980, 1, 1, 0, 0, 0), member
        assert member.flag_bits == 0 and not member.extra and not member.comment, member
    names = [member.filename for member in members]
    manifest = json.loads(package.read("manifest.json"))
    plan = json.loads(package.read("plan.json"))
    assert [s["path"] for s in manifest["sections"]] == names[1:]
    for section in manifest["sections"]:
        content = package.read(section["path"])
        assert section["size"] == len(content), section
        assert section["sha256"] == hashlib.sha256(content).hexdigest(), section

print("members:", *names)
print("manifest:", json.dumps({key: value for key, value in manifest.items() if key not in ("sections", "entries", "tensors", "parameters", "training")}))
for name, entry in manifest["entries"].items():
    print("entry:", name, json.dumps(entry))
for tensor in manifest.get("tensors", []):
    print("tensor:", json.dumps(tensor))
for target, content in plan["targets"].items():
    for kernel in content["kernels"]:
        print("kernel:", target, json.dumps(kernel))
    for name, entry in content["entries"].items():
        for buffer in entry["buffers"]:
            print("buffer:", target, name, json.dumps(buffer))
        for command in entry["commands"]:
            print("command:", target, name, json.dumps(command))
