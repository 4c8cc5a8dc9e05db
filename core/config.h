/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"
#include "numa/policy.h"

/* mirrorball.conf as understood. Strings are terminated; limits are the parser's and it refuses what is longer. */
#define CONFIG_MAX_VMS       16
#define CONFIG_MAX_RAMDISKS  8
#define CONFIG_MAX_DISKS     4
#define CONFIG_MAX_VIFS      4
#define CONFIG_MAX_IPS       4
#define CONFIG_MAX_SEGMENTS  4
#define CONFIG_MAX_SEGMENT_MIB 65536
#define CONFIG_NAME_MAX      32
#define CONFIG_PATH_MAX      256
#define CONFIG_EXTRA_MAX     2048
#define CONFIG_MAX_VCPUS     64
#define CONFIG_MAX_OVERCOMMIT 1000
#define CONFIG_MAX_SCAN      1000000
#define CONFIG_DEFAULT_SCAN  5000
#define CONFIG_MAX_WEIGHT    65535
#define CONFIG_DEFAULT_WEIGHT 256
#define CONFIG_MAX_NETS      16

enum config_numa { CONFIG_NUMA_AUTO, CONFIG_NUMA_OFF, CONFIG_NUMA_FAKE };

struct config_file {
    char path[CONFIG_PATH_MAX];
    const void *data;          /* filled by whoever loads it; equal paths share one copy */
    size_t size;
    bool shared;               /* several VMs, or one twice, have it */
};

/* PATH on the volume Mirrorball came from; partition=PARTUUID; disk=NUMBER. */
enum config_disk_kind { CONFIG_DISK_FILE, CONFIG_DISK_PARTITION, CONFIG_DISK_WHOLE };
#define CONFIG_NO_PLACE (-1)

/* How disks are reached: by drivers of ours where there is one, or always through the firmware. */
enum config_disks { CONFIG_DISKS_AUTO, CONFIG_DISKS_FIRMWARE };

/*
 * Over an image that many may have and nobody writes: a layer of the VM's own in memory, or (persist) in a log, where
 * it stays, or (fresh, too) which is empty at each start; or nothing (readonly); or its pages as memory of the VM (dax),
 * which what it writes makes its own. Or (exclusive) an image that this VM alone has, and writes.
 */
struct config_disk {
    struct config_file image;  /* path as the file has it, also of a partition or a whole disk; data: if loaded */
    bool readonly, dax, exclusive, persist, fresh;
    bool memory;               /* loaded as a whole into memory, and read from there */
    enum config_disk_kind kind;
    int place;                 /* in boot_info.place, CONFIG_NO_PLACE: it is not known where on a disk it lies */
};

/* A network interface of a VM. */
struct config_vif {
    char net[CONFIG_NAME_MAX]; /* networks with the same name are one */
    uint8_t mac[6];            /* all zero: one is made up */
    struct { bool six; uint8_t at[16]; } ip[CONFIG_MAX_IPS];
    unsigned ips;
    uint64_t rate;             /* bytes a second that it may send, 0: any */
};

/* Memory that VMs of one sharing domain have together; for all of them with this name it is one. */
struct config_segment { char name[CONFIG_NAME_MAX]; unsigned mib; bool readonly; };

/* pCPUs by number; those beyond the machine's do not matter. */
#define CONFIG_MAX_CPUS 256
struct cpu_set { uint64_t bits[CONFIG_MAX_CPUS / 64]; };

static inline bool cpu_set_has(const struct cpu_set *set, unsigned cpu)
{
    return cpu < CONFIG_MAX_CPUS && set->bits[cpu / 64] >> cpu % 64 & 1;
}

struct vm_config {
    char name[CONFIG_NAME_MAX];
    struct config_file kernel;
    struct config_file ramdisk[CONFIG_MAX_RAMDISKS];
    unsigned ramdisks;
    struct config_disk disk[CONFIG_MAX_DISKS], log[CONFIG_MAX_DISKS]; /* log: of disks with persist */
    unsigned disks;
    struct config_vif vif[CONFIG_MAX_VIFS];
    unsigned vifs;
    struct config_segment segment[CONFIG_MAX_SEGMENTS];
    unsigned segments;
    char extra[CONFIG_EXTRA_MAX];
    uint64_t memory_mib;
    char share[CONFIG_NAME_MAX]; /* where it shares memory by content, "": nowhere */
    bool share_off;            /* it shares none at all */
    unsigned vcpus;
    unsigned weight;           /* 1 to CONFIG_MAX_WEIGHT */
    enum placement_of placement;
    struct cpu_set cpus;       /* where its vCPUs may run; not empty */
};

/*
 * What joins a network to the outside: a card (any, or the one at bdf) by a driver of ours or else the firmware's, any by
 * our driver for e1000, any by the firmware's driver, or nothing.
 */
enum config_uplink {
    CONFIG_UPLINK_NONE, CONFIG_UPLINK_AUTO, CONFIG_UPLINK_E1000, CONFIG_UPLINK_FIRMWARE, CONFIG_UPLINK_PCI
};
struct net_config {
    char name[CONFIG_NAME_MAX];
    enum config_uplink uplink;
    uint16_t bdf;              /* CONFIG_UPLINK_PCI: bus << 8 | device << 3 | function */
};

struct config {
    bool console_com1, console_gop;
    unsigned com1_baud;
    int log_level;             /* enum log_level */
    bool apicv;                /* where the processor has it */
    enum config_disks disks;
    enum config_numa numa;
    unsigned numa_fake_nodes;
    struct policy_settings policy; /* where memory goes; on: if there are several nodes */
    unsigned overcommit;       /* percent of the machine's memory that may be promised to VMs */
    unsigned scan;             /* pages a second that are looked at for content sharing at most */
    struct vm_config vm[CONFIG_MAX_VMS];
    unsigned vms;
    struct net_config net[CONFIG_MAX_NETS]; /* those that the file says something of */
    unsigned nets;
};
