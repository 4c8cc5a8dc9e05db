# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""A small Debian guest that can serve and mount NFS: Debian's own tools and modules in the busybox ramdisk."""

import os

import lab
from packages import program_tree

# Paths to packages.
PROGRAMS = {"sbin/mount.nfs": "nfs-common", "usr/sbin/rpc.nfsd": "nfs-kernel-server",
            "usr/sbin/rpc.mountd": "nfs-kernel-server", "usr/sbin/exportfs": "nfs-kernel-server"}
SSH_PROGRAMS = {"usr/bin/ssh": "openssh-client", "usr/bin/scp": "openssh-client",
                "usr/bin/ssh-keygen": "openssh-client", "usr/sbin/sshd": "openssh-server",
                "usr/lib/openssh/sftp-server": "openssh-sftp-server"}
MODULES = ("sunrpc", "grace", "lockd", "nfs_acl", "auth_rpcgss", "nfsd", "nfs", "nfsv3", "nfsv4", "dns_resolver",
           "fscache", "netfs")

# nfs-server DIRECTORY: exports it to all, as the root of NFSv4. nfs-client SERVER DIRECTORY: mounts it there.
SERVER = """\
#!/bin/sh
mkdir -p /var/lib/nfs/v4recovery /run /etc
: >/var/lib/nfs/etab; : >/var/lib/nfs/rmtab
echo "$1 *(rw,no_root_squash,no_subtree_check,fsid=0,insecure,async)" >/etc/exports
modprobe -a nfsd && mount -t nfsd nfsd /proc/fs/nfsd && exportfs -r && rpc.mountd -N 3 && rpc.nfsd -N 3 -U 4 || exit 1
echo Y >/proc/fs/nfsd/v4_end_grace
echo "nfs-server: serves $1"
"""
CLIENT = """\
#!/bin/sh
mkdir -p "$2" && modprobe -a nfsv4 && mount.nfs "$1":/ "$2" -o vers=4.2,sec=sys,proto=tcp,port=2049$3 &&
echo "nfs-client: has $1"
"""
# ssh-server: for root, who has no password.
SSH_SERVER = """\
#!/bin/sh
mkdir -p /run/sshd && ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/key && /usr/sbin/sshd && echo "ssh-server: serves"
"""
SSH_CONFIG = "HostKey /etc/ssh/key\nPermitRootLogin yes\nPermitEmptyPasswords yes\nUsePAM no\nUseDNS no\n" \
    "Subsystem sftp /usr/lib/openssh/sftp-server\n"
NSS = "passwd: files\ngroup: files\nhosts: files\nprotocols: files\nservices: files\nrpc: files\n"
FILES = {"usr/bin/nfs-server": SERVER, "usr/bin/nfs-client": CLIENT, "usr/bin/ssh-server": SSH_SERVER,
         "etc/ssh/sshd_config": SSH_CONFIG, "etc/nsswitch.conf": NSS,
         "etc/passwd": "root::0:0:root:/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/bin/false\n",
         "etc/group": "root:x:0:\nnogroup:x:65534:\n",
         "etc/hosts": "127.0.0.1 localhost\n", "etc/netconfig":
         "udp tpi_clts v inet udp - -\ntcp tpi_cots_ord v inet tcp - -\n",
         "etc/protocols": "tcp 6 TCP\nudp 17 UDP\n", "etc/services": "nfs 2049/tcp\n", "etc/nfs.conf": ""}


def tree(t, ssh):
    """A directory with all that a guest has more than its busybox; our drivers are there too."""
    root = lab.modules_tree(t, MODULES)
    program_tree(PROGRAMS | (SSH_PROGRAMS if ssh else {}), os.path.join(lab.BUILD, "cache"), root)
    for path, text in FILES.items():
        target = os.path.join(root, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(target, 0o755 if path.startswith("usr/bin") else 0o644)
    return root


def guest_files(t, ssh=False):
    """Kernel and ramdisk, image paths to host files; ssh: with OpenSSH's server and client."""
    output = os.path.join(t.work, "guest")
    lab.run([os.path.join(lab.REPO, "scripts", "mkguest"), "--output", output, "--no-kernel", "--tree", tree(t, ssh)])
    return lab.linux() | {"guests/initrd": os.path.join(output, "initrd")}


def serve(m, addresses):
    """The VM `server` of these (names to addresses) exports its disk, which has a file and sums; the others mount it."""
    server = addresses["server"]
    lab.at_shell(m, "server")
    lab.says(m, "the server has its disk", "mkdir /srv; mount -t ext4 /dev/mbda /srv && ls /srv | tr '\\n' ' '; echo",
             r"^file lost\+found sums $")
    lab.says(m, "it serves", f"ifconfig eth0 {server} netmask 255.255.255.0 up; nfs-server /srv",
             r"nfs-server: serves /srv$", 240)
    for name, address in addresses.items():
        if name != "server":
            lab.at_shell(m, name)
            lab.says(m, f"{name} mounts it", f"ifconfig eth0 {address} netmask 255.255.255.0 up; "
                     f"nfs-client {server} /mnt", rf"nfs-client: has {server}$", 240)
