# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""The machine's network cards: their drivers alone, and guests that reach the outside through one."""

import lab

CARDS = ("e1000", "e1000e", "virtio-net-pci")    # QEMU's; the last only the firmware has a driver for
DRIVERS = ("e1000", "e1000", "firmware")


def card_options(platform, *cards):
    """For scripts/boot: network cards, each on a slirp of its own. Bochs has one kind, QEMU's have names."""
    words = []
    for n, card in enumerate(cards):
        mac = f"52:54:00:12:34:{0x56 + n:02x}"
        if platform == "bochs":
            words += ["--bochs-option", f"e1000: card={n}, enabled=1, mac={mac}, ethmod=slirp"]
        else:
            words += [f"--qemu-arg={word}" for word in
                      ("-netdev", f"user,id=net{n}", "-device", f"{card},netdev=net{n},mac={mac}")]
    return words


@lab.scenario("selftest-net", seconds=240)
def selftest_net(t):
    """
    Our drivers on cards that the firmware's own used before, and the firmware's afterwards; and the firmware's on a card
    that we do not know. Needs no VT-x.
    """
    use = ["ifconfig -s eth0 dhcp", "stall 5000000", "ping -n 2 10.0.2.2"]
    script = ["@echo -off", "fs0:", "connect -r", "\\EFI\\mirrorball\\mirrorball.efi -selftest=net",
              "echo status is %lasterror%", *use, "echo the-script-has-ended", ""]
    files = {"startup.nsh": "\r\n".join(script).encode()}
    with t.machine(t.image(None, files, "shell"), cpus=1, platform="qemu",
                   arguments=card_options("qemu", *CARDS)) as m:
        m.start_script()
        for n, card in enumerate(CARDS):
            name = f"{DRIVERS[n]} 00:{2 + n:02x}.0"
            m.wait(f"{card}: a server offers an address", rf"^mirrorball: {name}: address 10.0.2.15 "
                   r"offered by 10.0.2.2$", 120)
            found = m.wait(f"{card}: all that it sends comes back", rf"^mirrorball: {name}: 3000 echoes of 1400 bytes: "
                           r"(\d+) came back, (\d+) not as they were sent; (\d+) bad", 60)
            t.check(f"{card}: nothing is lost or changed", found.groups() == ("3000", "0", "0"), found[0])
        m.wait("the self-test says so", r"^mirrorball: selftest: 3 network cards, 3 passed, 0 failed$", 60)
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 60)
        m.wait("the shell sees success", r"^status is 0x0\s*$", 60)
        m.wait("the firmware's driver has the card again", r"^2 packets transmitted, 2 received", 120)
        m.wait("the script runs to its end", r"^the-script-has-ended", 60)
