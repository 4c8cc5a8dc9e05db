# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Debian's packages for scripts/mkguest and scripts/mkmodules: downloaded, never installed."""

import glob
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

KERNELS = ("cloud", "generic")
META_PACKAGE = {"cloud": "linux-image-cloud-amd64", "generic": "linux-image-amd64"}
UPDATE = "; run 'apt-get update' as root and try again"


class Failure(Exception):
    """An error the user can do something about."""


def output_of(*command, fix=""):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Failure(f"'{command[0]}' is missing: this needs Debian's package tools") from None
    if done.returncode:
        raise Failure(f"{shlex.join(command)} failed: {done.stderr.strip()}{fix}")
    return done.stdout


def depends(package):
    """Names of the packages that PACKAGE depends on directly."""
    return re.findall(r"^ *Depends: (\S+)", output_of("apt-cache", "depends", package, fix=UPDATE), re.M)


def kernel_package(kind):
    """The kernel package that the meta-package of this KIND stands for today."""
    for name in depends(META_PACKAGE[kind]):
        if re.match(r"linux-image-\d", name):
            return name
    raise Failure(f"apt knows no kernel behind {META_PACKAGE[kind]}{UPDATE}")


def fetch(package, cache):
    """Path of the package's file, downloaded unless CACHE has it."""
    uris = output_of("apt-get", "download", "--print-uris", package)
    found = re.search(r"^'[^']*' (\S+\.deb) ", uris, re.MULTILINE)
    if not found:
        raise Failure(f"apt cannot tell where {package} is; run 'apt-get update' and try again")
    target = os.path.join(cache, found.group(1))
    if not os.path.exists(target):
        os.makedirs(cache, exist_ok=True)
        download(package, target)
    return target


def download(package, target):
    """Fetches PACKAGE into a directory of its own, then moves it to TARGET."""
    print(f"{os.path.basename(sys.argv[0])}: downloading {package}", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(target)) as directory:
        done = subprocess.run(["apt-get", "-q", "download", package], cwd=directory, text=True,
                              capture_output=True, check=False)
        files = [name for name in os.listdir(directory) if name.endswith(".deb")]
        if done.returncode or len(files) != 1:
            raise Failure(f"cannot download {package}: {done.stderr.strip()}; check the network, "
                          "or run 'apt-get update' if the version is out of date")
        os.replace(os.path.join(directory, files[0]), target)


def needed(elf):
    """The names of the shared objects that a program or library asks for."""
    return re.findall(r"\(NEEDED\).*\[(.+)\]", output_of("readelf", "-d", elf))


def unpacked(package, cache, base):
    """BASE/PACKAGE, where it is unpacked; what Debian says of it is in DEBIAN/control."""
    root = os.path.join(base, package)
    if not os.path.exists(root):
        done = subprocess.run(["dpkg-deb", "-R", fetch(package, cache), root], capture_output=True, text=True,
                              check=False)
        if done.returncode:
            raise Failure(f"{package} cannot be unpacked: {done.stderr.strip()}")
    return root


def links_with(root):
    """The packages that the one which is unpacked there depends on; of alternatives the first."""
    with open(os.path.join(root, "DEBIAN", "control"), encoding="utf-8") as control:
        found = re.search(r"^Depends: (.*)$", control.read(), re.M)
    return re.findall(r"(?:^|, )([^ ,(]+)", found[1]) if found else []


def library(name, packages, cache, base):
    """Where a shared object is, and which of these packages has it; no more of them are unpacked than it takes."""
    for package in sorted(packages, key=lambda p: (not os.path.exists(os.path.join(base, p)), "lib" not in p)):
        root = unpacked(package, cache, base)
        found = glob.glob(os.path.join(root, "**", name), recursive=True)
        if found:
            return found[0], package
    raise Failure(f"none of the packages {', '.join(packages)} has {name}")


def program_tree(programs, cache, target):
    """Puts programs of Debian packages (paths to packages), and the libraries that they need but nothing else, into
    TARGET, once.

    Debian's packages depend directly on those with whose libraries their programs are linked: there each is looked for.
    """
    if all(os.path.exists(os.path.join(target, path)) for path in programs):
        return target
    with tempfile.TemporaryDirectory(dir=cache) as base:
        files = {path: os.path.join(unpacked(package, cache, base), path) for path, package in programs.items()}
        todo, seen = [(files[path], package) for path, package in programs.items()], {}
        while todo:
            elf, owner = todo.pop()
            packages = [owner, *links_with(os.path.join(base, owner))]
            for name in needed(elf):
                if name not in seen:
                    seen[name], its = library(name, packages, cache, base)
                    todo.append((seen[name], its))
        for name, path in seen.items():
            place(os.path.realpath(path), os.path.join(target, "lib64" if name.startswith("ld-linux") else "lib", name))
        for path, file in files.items():
            place(file, os.path.join(target, path))
    return target


def place(source, target):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copyfile(source, target)
    os.chmod(target, 0o755)
