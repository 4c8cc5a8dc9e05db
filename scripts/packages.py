# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Debian's packages for scripts/mkguest and scripts/mkmodules: downloaded, never installed."""

import os
import re
import shlex
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
