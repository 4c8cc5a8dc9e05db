# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""A whole Debian in an ext4 image, for scripts/mkguest --debian: debootstrap's minimal system, systemd, our drivers."""

import os
import shutil
import subprocess
import tempfile

from packages import Failure

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
PACKAGES = ("systemd-sysv", "udev", "kmod", "initramfs-tools", "zstd", "e2fsprogs")
LABEL = "root"
UNNEEDED = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")
MIB = 1 << 20
TOOLS = {"debootstrap": "debootstrap", "mkfs.ext4": "e2fsprogs", "make": "make"}


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False, env=dict(os.environ, PATH=f"{os.environ['PATH']}:/usr/sbin:/sbin"))
    if done.returncode:
        raise Failure(f"{' '.join(command[:3])} failed:\n{done.stdout.strip()[-2000:]}")


def install_kernel(root, package):
    """The package's files only: its scripts would look for a boot loader. /lib is a link, and has to stay one."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as archive:
        subprocess.run(["tar", "-x", "--keep-directory-symlink", "-C", root], stdin=archive.stdout, check=True)
    if archive.returncode:
        raise Failure(f"'{package}' cannot be unpacked: remove this file and try again")


def configure(root, name):
    """The file system is not checked when it comes up: each time it is the image as it was made here."""
    for path, text in (("etc/hostname", f"{name}\n"),
                       ("etc/fstab", f"LABEL={LABEL} / ext4 errors=remount-ro 0 0\n")):
        with open(os.path.join(root, path), "w", encoding="ascii") as file:
            file.write(text)
    run("chroot", root, "passwd", "-d", "root")     # no password: whoever has the console may do all


def strip(root):
    for directory in UNNEEDED:
        path = os.path.join(root, directory)
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)


def used_mib(root):
    return sum(os.lstat(os.path.join(directory, name)).st_blocks * 512
               for directory, directories, files in os.walk(root) for name in directories + files) // MIB


def image(root, path):
    """A third of its blocks are free; what is not written takes no room in the file."""
    size = used_mib(root) * 3 // 2 + 16
    if os.path.exists(path):
        os.unlink(path)
    run("mkfs.ext4", "-q", "-F", "-b", "4096", "-L", LABEL, "-d", root, path, f"{size}M")


def fill(root, args, package):
    version = os.path.basename(package).removeprefix("linux-image-").split("_")[0]
    run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, root, MIRROR)
    install_kernel(root, package)
    for tree in args.tree:
        run("cp", "-rT", os.path.join(tree, "lib"), os.path.join(root, "usr", "lib"))
    run("make", "-s", "-C", args.drivers, "boot", f"DESTDIR={os.path.abspath(root)}")
    run("chroot", root, "depmod", version)
    run("chroot", root, "update-initramfs", "-c", "-k", version)
    for name in ("vmlinuz", "initrd.img"):
        target = os.path.join(args.output, name.removesuffix(".img"))
        shutil.move(os.path.join(root, "boot", f"{name}-{version}"), target)
        os.chmod(target, 0o644)


def make(args, package):
    """DIR/vmlinuz, DIR/initrd, DIR/root.img; PACKAGE is the kernel's."""
    if os.geteuid():
        raise Failure("--debian needs root's rights: debootstrap makes files of other users")
    for tool, name in TOOLS.items():
        if not shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            raise Failure(f"'{tool}' is missing: install the package {name}")
    os.makedirs(args.output, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.output) as root:
        os.chmod(root, 0o755)
        fill(root, args, os.path.abspath(package))
        configure(root, args.name)
        strip(root)
        image(root, os.path.join(args.output, "root.img"))
