/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/e820.h"
#include "core/loader_parts.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vdev/board.h"

/*
 * Linux bzImage by the 64-bit boot protocol: Documentation/arch/x86/boot.rst and zero-page.rst of the kernel. The file
 * is the real-mode setup (its header tells everything, the rest is not used) and then the protected-mode kernel,
 * whose 64-bit entry is 0x200 behind its start.
 */
struct setup_header {          /* at HEADER_OFFSET of the file and of boot_params */
    uint8_t setup_sects;       /* sectors of 512 bytes after the first; 0 means 4 */
    uint16_t root_flags;
    uint32_t syssize;          /* protected-mode code in units of 16 bytes */
    uint16_t ram_size, vid_mode, root_dev, boot_flag;
    uint8_t jump, header_length; /* the header ends this far behind 0x202 */
    uint32_t magic;
    uint16_t version;
    uint32_t realmode_switch;
    uint16_t start_sys_seg, kernel_version;
    uint8_t type_of_loader, loadflags;
    uint16_t setup_move_size;
    uint32_t code32_start, ramdisk_image, ramdisk_size, bootsect_kludge;
    uint16_t heap_end_ptr;
    uint8_t ext_loader_ver, ext_loader_type;
    uint32_t cmd_line_ptr, initrd_addr_max, kernel_alignment;
    uint8_t relocatable_kernel, min_alignment;
    uint16_t xloadflags;
    uint32_t cmdline_size, hardware_subarch;
    uint64_t hardware_subarch_data;
    uint32_t payload_offset, payload_length;
    uint64_t setup_data, pref_address;
    uint32_t init_size, handover_offset, kernel_info_offset;
} __attribute__((packed));

_Static_assert(sizeof(struct setup_header) == 0x26c - 0x1f1, "the header ends at 0x26c in protocol 2.15");

enum {
    SECTOR = 512,
    HEADER_OFFSET = 0x1f1,
    HEADER_END = 0x264,        /* the part that protocol 2.12 must have: through init_size */
    BOOT_FLAG = 0xaa55,
    MAGIC = 0x53726448,        /* "HdrS" */
    VERSION_MIN = 0x020c,
    LOADED_HIGH = 0x01, KASLR = 0x02,
    RAMDISK_LAST = 0x7fffffff, /* what kernels of today say */
    XLF_KERNEL_64 = 0x01,
    LOADER_UNDEFINED = 0xff,
    VIDEO_NORMAL = 0xffff,
    ENTRY_64 = 0x200,
    /* offsets in boot_params */
    ACPI_RSDP_ADDR = 0x070,
    E820_ENTRIES = 0x1e8,
    E820_TABLE = 0x2d0,
};

struct linux_image {
    struct setup_header header;
    uint64_t payload_offset, payload_size; /* the protected-mode kernel in the file */
};

bool linux_is_image(const struct config_file *file)
{
    const uint8_t *data = file->data;
    uint32_t magic;
    uint16_t boot_flag;

    if (file->size < 0x206)
        return false;
    memcpy(&boot_flag, data + 0x1fe, sizeof(boot_flag));
    memcpy(&magic, data + 0x202, sizeof(magic));
    return boot_flag == BOOT_FLAG && magic == MAGIC;
}

static int check_size(struct load *l, struct linux_image *image)
{
    const struct setup_header *h = &image->header;
    uint64_t size = l->vm->kernel.size;
    unsigned sectors = (h->setup_sects ? h->setup_sects : 4u) + 1;
    uint64_t wanted = h->syssize * 16ull;

    if (size <= (uint64_t)sectors * SECTOR)
        return load_fail(l, ENOEXEC, "kernel is truncated: setup says %u sectors, the file has %llu", sectors,
                         (unsigned long long)(size / SECTOR));
    image->payload_offset = (uint64_t)sectors * SECTOR;
    image->payload_size = MIN(size - image->payload_offset, wanted);
    /* The last unit may be cut short. What follows (a signature, say) is not loaded. */
    if (image->payload_size + 15 < wanted)
        return load_fail(l, ENOEXEC, "kernel is truncated: its header says %llu bytes after setup, the file has %llu",
                         (unsigned long long)wanted, (unsigned long long)image->payload_size);
    if (image->payload_size <= ENTRY_64)
        return load_fail(l, ENOEXEC, "kernel is damaged: %llu bytes after setup hold no 64-bit entry",
                         (unsigned long long)image->payload_size);
    return 0;
}

static int check_header(struct load *l, struct linux_image *image)
{
    const uint8_t *data = l->vm->kernel.data;
    size_t size = l->vm->kernel.size, end;
    struct setup_header *h = &image->header;

    if (size < HEADER_END)
        return load_fail(l, ENOEXEC, "kernel is truncated: the setup header needs %u bytes, the file has %llu",
                         (unsigned)HEADER_END, (unsigned long long)size);
    memset(h, 0, sizeof(*h));
    end = MIN(0x202u + data[0x201], (size_t)HEADER_OFFSET + sizeof(*h));
    memcpy(h, data + HEADER_OFFSET, MIN(end, size) - HEADER_OFFSET);
    if (h->version < VERSION_MIN)
        return load_fail(l, ENOEXEC, "kernel is too old: boot protocol %u.%02u, needed 2.12", h->version >> 8,
                         h->version & 0xffu);
    if (end < HEADER_END)
        return load_fail(l, ENOEXEC, "kernel is damaged: its setup header ends at 0x%llx, needed 0x%x",
                         (unsigned long long)end, (unsigned)HEADER_END);
    if (!(h->xloadflags & XLF_KERNEL_64) || !(h->loadflags & LOADED_HIGH))
        return load_fail(l, ENOEXEC, "kernel has no 64-bit entry (a 32-bit kernel?)");
    return check_size(l, image);
}

/*
 * The kernel runs at pref_address unless that lies below 1 MiB. A lower place would not help where memory is short:
 * a relocatable x86-64 kernel moves itself up to pref_address.
 */
static int place_kernel(struct load *l, const struct linux_image *image, uint64_t *base)
{
    const struct setup_header *h = &image->header;
    uint64_t size = MAX((uint64_t)h->init_size, image->payload_size);

    *base = h->pref_address;
    if (h->relocatable_kernel) {
        if (!h->kernel_alignment || (h->kernel_alignment & (h->kernel_alignment - 1)))
            return load_fail(l, ENOEXEC, "kernel is damaged: alignment 0x%x is not a power of two",
                             h->kernel_alignment);
        if (*base < MIB)
            return load_place_above(l, size, h->kernel_alignment, MIB, "kernel", base);
    }
    return load_claim(l, *base, size, "kernel");
}

static int load_command_line(struct load *l, struct setup_header *h)
{
    uint64_t base;
    size_t length = strlen(l->vm->extra);
    int rc;

    if (length > h->cmdline_size)
        return load_fail(l, EINVAL, "command line (extra) has %llu characters, the kernel takes %u",
                         (unsigned long long)length, h->cmdline_size);
    rc = load_string(l, l->vm->extra, "command line", &base);
    h->cmd_line_ptr = (uint32_t)base;
    return rc;
}

static int load_boot_params(struct load *l, const struct setup_header *h, uint64_t *base)
{
    struct e820_entry map[E820_MAX];
    uint8_t entries = (uint8_t)load_memory_map(l, map);
    uint64_t rsdp = BOARD_ACPI_BASE;
    int rc = load_place(l, PAGE_SIZE, PAGE_SIZE, LOAD_LOW_LIMIT, "boot parameters", base);

    if (!rc)
        rc = load_zero(l, *base, PAGE_SIZE);
    if (!rc)
        rc = load_write(l, *base + HEADER_OFFSET, h, sizeof(*h));
    if (!rc)
        rc = load_write(l, *base + ACPI_RSDP_ADDR, &rsdp, sizeof(rsdp));
    if (!rc)
        rc = load_write(l, *base + E820_ENTRIES, &entries, sizeof(entries));
    return rc ? rc : load_write(l, *base + E820_TABLE, map, entries * sizeof(map[0]));
}

/* What the header of every kernel has that is loaded here. */
static int load_rest(struct load *l, struct setup_header *h, uint64_t *ramdisk, uint64_t *ramdisk_size)
{
    int rc = load_command_line(l, h);

    if (!rc)
        rc = load_ramdisks(l, (uint64_t)h->initrd_addr_max + 1, ramdisk, ramdisk_size);
    if (rc)
        return rc;
    h->type_of_loader = LOADER_UNDEFINED;
    h->vid_mode = VIDEO_NORMAL;
    h->ramdisk_image = (uint32_t)*ramdisk;
    h->ramdisk_size = (uint32_t)*ramdisk_size;
    h->hardware_subarch = 0;   /* what the file says in these two is not its to say */
    h->setup_data = 0;
    return load_boot_params(l, h, &l->entry->rsi);
}

int linux_load_plain(struct load *l, bool random, uint64_t *ramdisk, uint64_t *ramdisk_size)
{
    struct setup_header h = { .boot_flag = BOOT_FLAG, .magic = MAGIC, .version = VERSION_MIN,
                              .loadflags = LOADED_HIGH | (random ? KASLR : 0), .kernel_alignment = PAGE_SIZE_2M,
                              .relocatable_kernel = 1, .xloadflags = XLF_KERNEL_64, .initrd_addr_max = RAMDISK_LAST,
                              .cmdline_size = CONFIG_EXTRA_MAX - 1 };

    return load_rest(l, &h, ramdisk, ramdisk_size);
}

int linux_load(struct load *l)
{
    struct linux_image image;
    struct setup_header *h = &image.header;
    uint64_t base, ramdisk, ramdisk_size;
    int rc = check_header(l, &image);

    if (!rc)
        rc = place_kernel(l, &image, &base);
    if (!rc)
        rc = load_file(l, base, &l->vm->kernel, image.payload_offset, image.payload_size);
    if (rc)
        return rc;
    h->code32_start = (uint32_t)base;
    rc = load_rest(l, h, &ramdisk, &ramdisk_size);
    return rc ? rc : load_processor(l, GUEST_LONG64, base + ENTRY_64);
}
